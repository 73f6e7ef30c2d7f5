import native from "dgate:native";

export const get = async (key) => {
  const json = native.cacheGet(String(key));
  return json === undefined ? undefined : JSON.parse(json);
};

export const set = async (key, value, { ttl } = {}) => {
  const json = JSON.stringify(value);
  if (json === undefined) throw new TypeError("a value without a JSON form cannot be cached");
  native.cacheSet(String(key), json, ttl);
};

const remove = async (key) => native.cacheDelete(String(key));
export { remove as delete };
