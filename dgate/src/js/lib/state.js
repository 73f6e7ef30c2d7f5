import native from "dgate:native";

const shown = ({ id, data, version }) => ({ id, data: JSON.parse(data), version });

class Collection {
  #name;
  constructor(name) { this.#name = name; }

  async get(id) {
    const found = await native.stateGet(this.#name, String(id));
    return found && shown(found);
  }

  async put(id, data, { if_version, ttl } = {}) {
    const json = JSON.stringify(data);
    if (json === undefined) throw new TypeError("a value without a JSON form cannot be stored");
    return shown(await native.statePut(this.#name, String(id), json, if_version, ttl));
  }

  async delete(id) { await native.stateDelete(this.#name, String(id)); }

  async list({ prefix, limit, cursor } = {}) {
    const { items, next } = await native.stateList(this.#name, prefix ?? "", limit, cursor);
    return { items: items.map(shown), next };
  }
}

export const collection = (name) => new Collection(String(name));
