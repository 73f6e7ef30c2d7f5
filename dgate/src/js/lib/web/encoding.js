import native from "dgate:native";
import { bytesOf, define, dictionary, need, usv } from "dgate:idl";

const { utf8Encode, utf8EncodeInto, encodingName, decodeAll, decoder } = native;

export class TextEncoder {
  get encoding() {
    return "utf-8";
  }
  encode(input = "") {
    return utf8Encode(usv(input));
  }
  encodeInto(source, destination) {
    need(arguments, 2, "encodeInto");
    const text = `${source}`;
    if (!(destination instanceof Uint8Array)) throw new TypeError("the destination of encodeInto is not a Uint8Array");
    // A code unit takes a byte at least; one more keeps a surrogate pair at the end whole.
    const [read, bytes] = utf8EncodeInto(text.slice(0, destination.length + 1).toWellFormed(), destination.length);
    destination.set(bytes);
    return { read, written: bytes.length };
  }
}

export class TextDecoder {
  #encoding;
  #fatal;
  #ignoreBOM;
  #stream = null;

  constructor(label = "utf-8", options = undefined) {
    label = `${label}`;
    const { fatal, ignoreBOM } = dictionary(options, "TextDecoder options");
    this.#encoding = label === "utf-8" ? label : encodingName(label.toWellFormed());
    if (this.#encoding === undefined) throw new RangeError(`${label} is no encoding label`);
    this.#fatal = Boolean(fatal);
    this.#ignoreBOM = Boolean(ignoreBOM);
  }
  get encoding() {
    return this.#encoding;
  }
  get fatal() {
    return this.#fatal;
  }
  get ignoreBOM() {
    return this.#ignoreBOM;
  }
  decode(input = undefined, options = undefined) {
    const encoding = this.#encoding, bytes = input === undefined ? new Uint8Array() : bytesOf(input, "the input of decode");
    const more = Boolean(dictionary(options, "decode options").stream);
    let text;
    if (more || this.#stream !== null) {
      const stream = (this.#stream ??= decoder(encoding, this.#fatal, this.#ignoreBOM));
      text = stream.decode(bytes, !more);
      if (!more || text === undefined) this.#stream = null;
    } else {
      text = decodeAll(encoding, bytes, this.#fatal, this.#ignoreBOM);
    }
    if (text === undefined) throw new TypeError(`the input is not valid ${encoding}`);
    return text;
  }
}

define(TextEncoder, TextDecoder);
