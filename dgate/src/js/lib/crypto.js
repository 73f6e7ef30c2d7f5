import native from "dgate:native";

const c = native.crypto;

const HASHES = ["SHA-1", "SHA-256", "SHA-384", "SHA-512"];
const CURVES = ["P-256", "P-384", "P-521"];
const FORMATS = ["raw", "spki", "pkcs8", "jwk"];
const USAGES = ["encrypt", "decrypt", "sign", "verify", "deriveKey", "deriveBits", "wrapKey", "unwrapKey"];
const [ENCRYPT, DECRYPT, SIGN, VERIFY, DERIVE_KEY, DERIVE_BITS, WRAP, UNWRAP] = USAGES.map((_, i) => 1 << i);

const PAIR = { own: SIGN, open: VERIFY, pair: true, use: "sig", ops: ["sign", "verify", "importKey", "exportKey", "generateKey"] };
const KDF = { own: DERIVE_KEY | DERIVE_BITS, open: 0, ops: ["deriveBits", "importKey"] };
const ALGORITHMS = {
  __proto__: null,
  "HMAC": { ...PAIR, name: "HMAC", own: SIGN | VERIFY, open: 0, pair: false, kty: "oct", by: "hash", jwa: "HS" },
  "AES-GCM": { name: "AES-GCM", own: ENCRYPT | DECRYPT | WRAP | UNWRAP, open: 0, kty: "oct", use: "enc", ops: ["encrypt", "decrypt", "importKey", "exportKey", "generateKey"] },
  "RSASSA-PKCS1-V1_5": { ...PAIR, name: "RSASSA-PKCS1-v1_5", kty: "RSA", by: "hash", jwa: "RS" },
  "RSA-PSS": { ...PAIR, name: "RSA-PSS", kty: "RSA", by: "hash", jwa: "PS" },
  "ECDSA": { ...PAIR, name: "ECDSA", kty: "EC", by: "curve" },
  "ED25519": { ...PAIR, name: "Ed25519", kty: "OKP" },
  "HKDF": { ...KDF, name: "HKDF" },
  "PBKDF2": { ...KDF, name: "PBKDF2" },
};

const fail = (name, message) => { throw new DOMException(message, name); };

const required = (params, name) => {
  const value = params[name];
  if (value === undefined) throw new TypeError(`the algorithm is missing its ${name}`);
  return value;
};

const integer = (value, max, name) => {
  const number = Math.trunc(Number(value));
  if (!(number >= 0 && number <= max)) throw new TypeError(`${name} is out of range`);
  return number;
};

const identifier = (algorithm) => {
  if (typeof algorithm === "string") return algorithm;
  if (algorithm === undefined) throw new TypeError("an algorithm is expected");
  return String(Object(algorithm) === algorithm ? required(algorithm, "name") : algorithm);
};

function entry(algorithm, op) {
  const name = identifier(algorithm);
  const found = ALGORITHMS[name] ?? ALGORITHMS[name.toUpperCase()];
  if (!found?.ops.includes(op)) fail("NotSupportedError", `${op} does not know the algorithm ${name}`);
  return found;
}

function hashIndex(algorithm) {
  const name = identifier(algorithm);
  let index = HASHES.indexOf(name);
  if (index < 0) index = HASHES.indexOf(name.toUpperCase());
  if (index < 0) fail("NotSupportedError", `unknown hash ${name}, there are ${HASHES.join(", ")}`);
  return index;
}

function parameter(by, params) {
  if (by === "hash") return hashIndex(required(params, "hash"));
  if (by !== "curve") return 0;
  const curve = String(required(params, "namedCurve"));
  const index = CURVES.indexOf(curve);
  if (index < 0) fail("NotSupportedError", `unknown curve ${curve}, there are ${CURVES.join(", ")}`);
  return index;
}

function option(name, params) {
  if (name === "ECDSA") return hashIndex(required(params, "hash"));
  return name === "RSA-PSS" ? integer(required(params, "saltLength"), 0xffffffff, "saltLength") : 0;
}

function mask(usages) {
  let bits = 0;
  for (const usage of usages) {
    const index = USAGES.indexOf(usage);
    if (index < 0) throw new TypeError(`unknown key usage ${String(usage)}`);
    bits |= 1 << index;
  }
  return bits;
}

const listed = (bits) => USAGES.filter((_, i) => bits & (1 << i));

function allow(bits, allowed) {
  if (bits & ~allowed) fail("SyntaxError", `this key cannot have the usages ${listed(bits & ~allowed).join(", ")}`);
}

function formatOf(format) {
  if (!FORMATS.includes(format)) throw new TypeError(`unknown key format ${String(format)}`);
  return format;
}

const TOKEN = Symbol();
let inside;

class CryptoKey {
  #material; #of; #index; #bits; #extractable; #type; #algorithm; #usages;

  constructor() {
    const [token, parts] = arguments;
    if (token !== TOKEN) throw new TypeError("Illegal constructor");
    const { material, type, of, index, bits, extractable, algorithm } = parts;
    this.#material = material;
    this.#type = type;
    this.#of = of;
    this.#index = index;
    this.#bits = bits;
    this.#extractable = extractable;
    this.#algorithm = algorithm;
  }

  get type() { return this.#type; }
  get extractable() { return this.#extractable; }
  get algorithm() { return this.#algorithm; }
  get usages() { return (this.#usages ??= listed(this.#bits)); }

  static {
    inside = {
      material(key, name, usage) {
        if (key.#of.name !== name) fail("InvalidAccessError", `the key is one of ${key.#of.name}, not of ${name}`);
        if (!(key.#bits & usage)) fail("InvalidAccessError", `the key does not have the usage ${listed(usage)[0]}`);
        return key.#material;
      },
      parts: (key) => ({ material: key.#material, type: key.#type, of: key.#of, index: key.#index, bits: key.#bits, extractable: key.#extractable }),
    };
  }
}

function keyOf(material, of, index, extractable, bits) {
  const [type, length, publicExponent] = c.describe(material);
  bits &= type === "public" ? of.open : of.own;
  if (type !== "public" && !bits) fail("SyntaxError", `a ${type} key is of use only with usages`);
  const algorithm = { name: of.name };
  if (of.kty === "RSA") Object.assign(algorithm, { modulusLength: length, publicExponent });
  if (of.by === "hash") algorithm.hash = { name: HASHES[index] };
  if (of.by === "curve") algorithm.namedCurve = CURVES[index];
  if (of.kty === "oct") algorithm.length = length;
  return new CryptoKey(TOKEN, { material, type, of, index, bits, extractable: type === "public" || extractable, algorithm });
}

const jwaOf = (of, index, length) => {
  if (of.jwa) return [of.jwa + HASHES[index].slice(4)];
  if (of.name === "AES-GCM") return [`A${length}GCM`];
  return of.by === "curve" ? [["ES256", "ES384", "ES512"][index]] : ["EdDSA", "Ed25519"];
};

function checkJwk(jwk, of, index, extractable, bits) {
  const bad = (member) => fail("DataError", `the JWK's ${member} does not fit the key`);
  const { kty, crv, use, key_ops: ops, ext } = jwk;
  if (kty !== of.kty) bad("kty");
  if (of.by === "curve" && crv !== CURVES[index]) bad("crv");
  if (of.kty === "OKP" && crv !== of.name) bad("crv");
  if (bits && use !== undefined && use !== of.use) bad("use");
  if (ops !== undefined) {
    const list = Array.from(ops);
    if (new Set(list).size !== list.length || !listed(bits).every((usage) => list.includes(usage))) bad("key_ops");
  }
  if (ext === false && extractable) bad("ext");
}

function importKey(format, data, algorithm, extractable, bits) {
  const of = entry(algorithm, "importKey");
  const index = parameter(of.by, algorithm);
  const jwk = format === "jwk";
  if (jwk && (data === null || typeof data !== "object" || ArrayBuffer.isView(data) || data instanceof ArrayBuffer))
    throw new TypeError("a JSON Web Key is expected");
  const open = of.pair && (jwk ? data.d === undefined : format !== "pkcs8");
  allow(bits, open ? of.open : of.own);
  if (of.kty === undefined && extractable) fail("SyntaxError", `a key of ${of.name} cannot be extractable`);
  if (jwk && of.kty) checkJwk(data, of, index, extractable, bits);
  const key = keyOf(c.importKey(of.name, index, format, data), of, index, extractable, bits);
  const { length } = key.algorithm;
  if (jwk && data.alg !== undefined && !jwaOf(of, index, length).includes(data.alg)) fail("DataError", "the JWK's alg does not fit the key");
  if (of.name === "HMAC" && algorithm.length !== undefined && integer(algorithm.length, 0xffffffff, "length") !== length)
    fail("DataError", `the key has ${length} bits`);
  return key;
}

function lengthOf(of, index, params) {
  if (of.name === "AES-GCM") {
    const length = integer(required(params, "length"), 0xffff, "length");
    return [128, 192, 256].includes(length) ? length : fail("OperationError", "an AES key has 128, 192 or 256 bits");
  }
  if (of.name !== "HMAC") fail("NotSupportedError", `keys of ${of.name} have no length`);
  if (params.length === undefined) return index < 2 ? 512 : 1024;
  const length = integer(params.length, 0xffffffff, "length");
  return length > 0 && length % 8 === 0 ? length : fail("OperationError", "an HMAC key has whole bytes, and at least one");
}

function rsaLength(params) {
  const length = integer(required(params, "modulusLength"), 0xffffffff, "modulusLength");
  const exponent = required(params, "publicExponent");
  if (!(exponent instanceof Uint8Array)) throw new TypeError("publicExponent is expected as a Uint8Array");
  if (exponent.reduce((sum, byte) => sum * 256 + byte, 0) !== 65537) fail("NotSupportedError", "the public exponent of a new key is 65537");
  return length;
}

function aesGcm(params) {
  const { iv = required(params, "iv"), additionalData = new Uint8Array(), tagLength = 128 } = params;
  if (![32, 64, 96, 104, 112, 120, 128].includes(tagLength)) fail("OperationError", "tagLength is not one of AES-GCM");
  if (tagLength !== 128) fail("NotSupportedError", "a tagLength of 128 bits is expected");
  return [iv, additionalData];
}

function derive(algorithm, key, length, usage) {
  const of = entry(algorithm, "deriveBits");
  const hash = hashIndex(required(algorithm, "hash"));
  const salt = required(algorithm, "salt");
  const last = of.name === "HKDF" ? required(algorithm, "info") : integer(required(algorithm, "iterations"), 0xffffffff, "iterations");
  const material = inside.material(key, of.name, usage);
  if (length === null || length === undefined || length % 8) fail("OperationError", "a length of whole bytes is expected");
  const bytes = integer(length, 0xffffffff, "length") / 8;
  return of.name === "HKDF" ? c.hkdf(material, hash, salt, last, bytes) : c.pbkdf2(material, hash, salt, last, bytes);
}

class SubtleCrypto {
  constructor() { throw new TypeError("Illegal constructor"); }

  async digest(algorithm, data) {
    return c.digest(hashIndex(algorithm), data);
  }

  async sign(algorithm, key, data) {
    const { name } = entry(algorithm, "sign");
    const how = option(name, algorithm);
    return c.sign(inside.material(key, name, SIGN), data, how);
  }

  async verify(algorithm, key, signature, data) {
    const { name } = entry(algorithm, "verify");
    const how = option(name, algorithm);
    return c.verify(inside.material(key, name, VERIFY), signature, data, how);
  }

  async encrypt(algorithm, key, data) {
    const { name } = entry(algorithm, "encrypt");
    const [iv, aad] = aesGcm(algorithm);
    return c.seal(inside.material(key, name, ENCRYPT), iv, aad, data);
  }

  async decrypt(algorithm, key, data) {
    const { name } = entry(algorithm, "decrypt");
    const [iv, aad] = aesGcm(algorithm);
    return c.open(inside.material(key, name, DECRYPT), iv, aad, data);
  }

  async importKey(format, keyData, algorithm, extractable, keyUsages) {
    return importKey(formatOf(format), keyData, algorithm, Boolean(extractable), mask(keyUsages));
  }

  async exportKey(format, key) {
    formatOf(format);
    const { material, type, of, index, bits, extractable } = inside.parts(key);
    if (!of.ops.includes("exportKey") || (format === "raw" && of.kty === "RSA")) fail("NotSupportedError", `keys of ${of.name} have no format ${format}`);
    if (of.kty === "oct" && (format === "spki" || format === "pkcs8")) fail("NotSupportedError", `keys of ${of.name} have no format ${format}`);
    if (!extractable) fail("InvalidAccessError", "the key is not extractable");
    const data = c.exportKey(material, format);
    if (data === null) fail("InvalidAccessError", `a ${type} key has no format ${format}`);
    if (format !== "jwk") return data;
    if (of.by === "curve") data.crv = CURVES[index];
    if (of.kty === "OKP") data.crv = of.name;
    if (of.jwa || of.kty === "oct") [data.alg] = jwaOf(of, index, key.algorithm.length);
    return Object.assign(data, { key_ops: listed(bits), ext: extractable });
  }

  async generateKey(algorithm, extractable, keyUsages) {
    const bits = mask(keyUsages);
    const of = entry(algorithm, "generateKey");
    const index = parameter(of.by, algorithm);
    const length = of.kty === "RSA" ? rsaLength(algorithm) : of.pair ? 0 : lengthOf(of, index, algorithm);
    allow(bits, of.own | of.open);
    if (!(bits & of.own)) fail("SyntaxError", "a key is of use only with usages");
    const [first, second] = c.generateKey(of.name, index, length).map((made) => keyOf(made, of, index, Boolean(extractable), bits));
    return second ? { publicKey: first, privateKey: second } : first;
  }

  async deriveBits(algorithm, baseKey, length = null) {
    return derive(algorithm, baseKey, length, DERIVE_BITS);
  }

  async deriveKey(algorithm, baseKey, derivedKeyType, extractable, keyUsages) {
    const bits = mask(keyUsages);
    const of = entry(derivedKeyType, "importKey");
    const length = lengthOf(of, parameter(of.by, derivedKeyType), derivedKeyType);
    return importKey("raw", derive(algorithm, baseKey, length, DERIVE_KEY), derivedKeyType, Boolean(extractable), bits);
  }

  async wrapKey() { fail("NotSupportedError", "wrapKey is not there: use exportKey and encrypt"); }
  async unwrapKey() { fail("NotSupportedError", "unwrapKey is not there: use decrypt and importKey"); }
}

const typeOf = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag).get;
const subtle = Object.create(SubtleCrypto.prototype);

class Crypto {
  constructor() { throw new TypeError("Illegal constructor"); }

  get subtle() { return subtle; }

  getRandomValues(array) {
    if (!ArrayBuffer.isView(array)) throw new TypeError("a typed array is expected");
    if (!/Int/i.test(typeOf.call(array) ?? "")) fail("TypeMismatchError", "a typed array of whole numbers is expected");
    const { byteLength } = array;
    if (byteLength > 65536) fail("QuotaExceededError", `at most 65536 bytes are filled at once, not ${byteLength}`);
    new Uint8Array(array.buffer, array.byteOffset, byteLength).set(c.randomBytes(byteLength));
    return array;
  }

  randomUUID() { return c.randomUUID(); }
}

for (const type of [Crypto, SubtleCrypto, CryptoKey]) {
  for (const name of Object.getOwnPropertyNames(type.prototype))
    if (name !== "constructor") Object.defineProperty(type.prototype, name, { enumerable: true });
  Object.defineProperty(type.prototype, Symbol.toStringTag, { value: type.name, configurable: true });
}

export const crypto = Object.create(Crypto.prototype);
export { Crypto, CryptoKey, SubtleCrypto };
