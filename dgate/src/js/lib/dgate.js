import native from "dgate:native";

export const sleep = (ms) => native.sleep(ms > 0 ? Number(ms) : 0)[1];

export const retry = async (attempts, work) => {
  for (let attempt = 0; ; attempt++) {
    try {
      return await work(attempt);
    } catch (error) {
      if (attempt + 1 >= attempts) throw error;
      await sleep(Math.random() * Math.min(25 * 2 ** attempt, 1000));
    }
  }
};
