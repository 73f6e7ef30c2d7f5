import native from "dgate:native";

export const get = async (name) => native.secretGet(String(name));
