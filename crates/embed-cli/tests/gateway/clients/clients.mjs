// A JavaScript client against a gateway: `clients.mjs CLIENT URL EXPECTED`, as clients.py does it for Python's.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";

const TOO_LONG = "a word and another one ".repeat(400);
const UNKNOWN = "nobody";

const bits = (vector) => Buffer.from(Float32Array.from(vector).buffer);

/** Vectors of the first texts, in their order, with every bit of every float32. */
const check = (expected, vectors, count = expected.texts.length) => {
  assert.equal(vectors.length, count);
  vectors.forEach((vector, index) => {
    assert.ok(bits(vector).equals(bits(expected.documents[index])), `the vector of text ${index} is another one`);
  });
};

const checkQuery = (expected, vector) => {
  assert.ok(bits(vector).equals(bits(expected.query)), "the vector of the query is another one");
};

/** The error of this kind that a call ends with. */
const refused = async (kind, call) => {
  try {
    await call();
  } catch (error) {
    assert.ok(error.constructor.name === kind, `${error.constructor.name} instead of ${kind}: ${error.message}`);
    return error;
  }
  assert.fail(`no ${kind} was thrown`);
};

const clients = {
  async openai(url, expected) {
    const { default: OpenAI } = await import("openai");
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none is needed", maxRetries: 0 });
    const embed = (input, more) => client.embeddings.create({ model: expected.model, input, ...more });

    // Without a format the library asks for base64, and decodes it.
    const answer = await embed(expected.texts);
    assert.deepEqual(answer.data.map((row) => row.index), [...expected.texts.keys()]);
    check(expected, answer.data.map((row) => row.embedding));
    assert.equal(answer.model, expected.model);
    assert.ok(answer.usage.total_tokens > 0);
    const float = await embed(expected.texts, { encoding_format: "float" });
    check(expected, float.data.map((row) => row.embedding));
    const query = await embed(expected.texts[0], { model: expected.model + ":query" });
    checkQuery(expected, query.data[0].embedding);
    assert.equal((await embed(expected.texts[0], { dimensions: 64 })).data[0].embedding.length, 64);

    const names = [];
    for await (const model of client.models.list()) names.push(model.id);
    assert.ok(names.includes(expected.model), names);
    assert.equal((await client.models.retrieve(expected.model)).object, "model");

    const unknown = await refused("NotFoundError", () => embed("a river", { model: UNKNOWN }));
    assert.deepEqual([unknown.status, unknown.code], [404, "model_not_found"]);
    const long = await refused("BadRequestError", () => embed(["a river", TOO_LONG]));
    assert.deepEqual([long.status, long.code], [400, "context_length_exceeded"]);
    assert.ok(long.message.includes("text 1") && !long.message.includes("another one"), long.message);
    for (const [nothing, about] of [["", "text is empty"], [[], "`input`"], [["a river", ""], "text 1"], [[1, 2], "token"]]) {
      const error = await refused("BadRequestError", () => embed(nothing));
      assert.ok(error.status === 400 && error.message.includes(about), error.message);
    }
  },

  async ollama(url, expected) {
    const { Ollama } = await import("ollama");
    const client = new Ollama({ host: url });
    const embed = (input, more) => client.embed({ model: expected.model, input, ...more });

    const answer = await embed(expected.texts);
    check(expected, answer.embeddings);
    assert.equal(answer.model, expected.model);
    assert.ok(answer.total_duration > 0 && answer.prompt_eval_count > 0);
    const single = await client.embeddings({ model: expected.model, prompt: expected.texts[0] });
    check(expected, [single.embedding], 1);
    checkQuery(expected, (await embed(expected.texts[0], { model: expected.model + ":query" })).embeddings[0]);
    assert.equal((await embed(TOO_LONG)).embeddings.length, 1);
    assert.equal((await embed("")).embeddings.length, 0);

    const tagged = expected.model + ":latest";
    assert.ok((await client.list()).models.some((model) => model.model === tagged));
    assert.ok((await client.ps()).models.some((model) => model.model === tagged));
    assert.ok((await client.show({ model: expected.model })).capabilities.includes("embedding"));
    assert.match((await client.version()).version, /^\d+\.\d+\.\d+$/);

    const unknown = await refused("ResponseError", () => embed("a river", { model: UNKNOWN }));
    assert.equal(unknown.status_code, 404);
    assert.equal(unknown.error, `model "${UNKNOWN}" not found, try pulling it first`);
    const long = await refused("ResponseError", () => embed(TOO_LONG, { truncate: false }));
    assert.ok(long.status_code === 400 && long.error.includes("exceeds maximum context length"), long.error);
    const empty = await refused("ResponseError", () => embed(["a river", ""]));
    assert.ok(empty.status_code === 400 && empty.error.includes("text 1"), empty.error);
  },

  async huggingface(url, expected) {
    const { InferenceClient } = await import("@huggingface/inference");
    const client = new InferenceClient().endpoint(url);
    check(expected, await client.featureExtraction({ inputs: expected.texts }));
    check(expected, await client.featureExtraction({ inputs: expected.texts[0] }), 1);
    checkQuery(expected, (await client.featureExtraction({ inputs: expected.texts[0], prompt_name: "query" }))[0]);
    await assert.rejects(client.featureExtraction({ inputs: TOO_LONG, truncate: false }), /longer than the model reads/);
  },
};

const [client, url, expected] = process.argv.slice(2);
await clients[client](url, JSON.parse(await readFile(expected, "utf8")));
