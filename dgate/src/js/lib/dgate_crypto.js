import native from "dgate:native";

const { createHash, createHmac, randomBytes, randomUUID, timingSafeEqual, randomBelow } = native.crypto;

function randomInt(min, max) {
  if (max === undefined) [min, max] = [0, min];
  if (!Number.isSafeInteger(min) || !Number.isSafeInteger(max)) throw new TypeError("whole numbers are expected");
  if (min >= max || max - min > 2 ** 48) throw new RangeError("max is expected above min, by at most 2 ** 48");
  return min + randomBelow(max - min);
}

export { createHash, createHmac, randomBytes, randomInt, randomUUID, timingSafeEqual };
