import native from "dgate:native";

const shown = ({ id, data, version }) => ({ id, data: JSON.parse(data), version });

// An error that comes back from outside has no place in any module: it gets that of the call.
const placed = (asked) => {
  const { stack } = new Error();
  return asked.catch((error) => {
    error.stack = stack;
    throw error;
  });
};

class Collection {
  #name;
  constructor(name) { this.#name = name; }

  async get(id) {
    const found = await placed(native.stateGet(this.#name, String(id)));
    return found && shown(found);
  }

  async put(id, data, { if_version, ttl } = {}) {
    const json = JSON.stringify(data);
    if (json === undefined) throw new TypeError("a value without a JSON form cannot be stored");
    return shown(await placed(native.statePut(this.#name, String(id), json, if_version, ttl)));
  }

  async delete(id) { await placed(native.stateDelete(this.#name, String(id))); }

  async list({ prefix, limit, cursor } = {}) {
    const { items, next } = await placed(native.stateList(this.#name, prefix ?? "", limit, cursor));
    return { items: items.map(shown), next };
  }
}

export const collection = (name) => new Collection(String(name));
