"""A Python client against a gateway: `clients.py CLIENT URL EXPECTED`; it ends with 0 if all of it is as it should be.

EXPECTED is a JSON file: the model's name, texts, what `embed encode` makes of them as documents, and of the first one
as a query. Vectors must be equal to the bit. What a client shows of an error is part of the promise too.
"""

import json
import sys
from array import array


def main(client, url, expected):
    with open(expected, encoding="utf-8") as file:
        CLIENTS[client](url, Expected(**json.load(file)))


class Expected:
    def __init__(self, model, texts, documents, query):
        self.model, self.texts, self.documents, self.query = model, texts, documents, query

    def check(self, vectors, texts=None):
        """Vectors of the first texts, in their order, with every bit of every float32."""
        vectors = list(vectors)
        wanted = self.documents[: len(self.texts if texts is None else texts)]
        assert len(vectors) == len(wanted), f"{len(vectors)} vectors of {len(wanted)} texts"
        for index, (vector, document) in enumerate(zip(vectors, wanted)):
            assert bits(vector) == bits(document), f"the vector of text {index} is another one"

    def check_query(self, vector):
        assert bits(vector) == bits(self.query), "the vector of the query is another one"


def bits(vector):
    return array("f", vector).tobytes()


TOO_LONG = "a word and another one " * 400
UNKNOWN = "nobody"


def refused(kind, call):
    """The error that a call ends with."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} was raised")


def check_openai_errors(openai, call):
    """`call(model, texts)`: what the library of OpenAI raises, which others pass on."""
    error = refused(openai.NotFoundError, lambda: call(UNKNOWN, ["a river"]))
    assert (error.status_code, error.code) == (404, "model_not_found"), error
    assert f"`{UNKNOWN}` does not exist" in error.message, error
    error = refused(openai.BadRequestError, lambda: call(None, ["a river", TOO_LONG]))
    assert (error.status_code, error.code) == (400, "context_length_exceeded"), error
    assert "text 1" in error.message and "another one" not in error.message, error


def with_openai(url, expected):
    import openai

    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none is needed", max_retries=0)
    embed = lambda texts, **more: client.embeddings.create(**{"model": expected.model, "input": texts} | more)

    # Without a format the library asks for base64, and decodes it.
    answer = embed(expected.texts)
    assert [row.index for row in answer.data] == list(range(len(expected.texts)))
    expected.check(row.embedding for row in answer.data)
    assert answer.model == expected.model and answer.usage.prompt_tokens == answer.usage.total_tokens > 0
    expected.check(row.embedding for row in embed(expected.texts, encoding_format="float").data)
    expected.check([embed(expected.texts[0]).data[0].embedding], texts=expected.texts[:1])

    expected.check_query(embed(expected.texts[0], model=expected.model + ":query").data[0].embedding)
    as_query = embed(expected.texts[0], extra_body={"input_type": "query"})
    expected.check_query(as_query.data[0].embedding)
    assert len(embed(expected.texts[0], dimensions=64).data[0].embedding) == 64

    assert expected.model in [model.id for model in client.models.list()]
    assert client.models.retrieve(expected.model).object == "model"
    error = refused(openai.NotFoundError, lambda: client.models.retrieve(UNKNOWN))
    assert error.code == "model_not_found", error

    check_openai_errors(openai, lambda model, texts: embed(texts, model=model or expected.model))
    for nothing, about in [("", "text is empty"), ([], "`input`"), (["a river", ""], "text 1"), ([[1, 2]], "token")]:
        error = refused(openai.BadRequestError, lambda: embed(nothing))
        assert error.status_code == 400 and about in error.message, error


def with_ollama(url, expected):
    import ollama

    client = ollama.Client(host=url)
    embed = lambda texts, **more: client.embed(**{"model": expected.model, "input": texts} | more)

    answer = embed(expected.texts)
    expected.check(answer.embeddings)
    assert answer.model == expected.model and answer.total_duration > 0 and answer.prompt_eval_count > 0
    expected.check(embed(expected.texts[0]).embeddings, texts=expected.texts[:1])
    expected.check([client.embeddings(expected.model, expected.texts[0]).embedding], texts=expected.texts[:1])
    expected.check_query(embed(expected.texts[0], model=expected.model + ":query").embeddings[0])
    assert len(embed(TOO_LONG, keep_alive="5m").embeddings) == 1
    # A lone empty string loads the model; so says Ollama's API.
    assert len(embed("").embeddings) == 0

    assert expected.model + ":latest" in [model.model for model in client.list().models]
    assert "embedding" in client.show(expected.model).capabilities
    assert expected.model + ":latest" in [model.model for model in client.ps().models]

    error = refused(ollama.ResponseError, lambda: embed("a river", model=UNKNOWN))
    assert error.status_code == 404 and error.error == f'model "{UNKNOWN}" not found, try pulling it first', error
    error = refused(ollama.ResponseError, lambda: client.show(UNKNOWN))
    assert error.status_code == 404 and error.error == f"model '{UNKNOWN}' not found", error
    error = refused(ollama.ResponseError, lambda: embed(TOO_LONG, truncate=False))
    assert error.status_code == 400 and "exceeds maximum context length" in error.error, error
    error = refused(ollama.ResponseError, lambda: embed(["a river", ""]))
    assert error.status_code == 400 and "text 1" in error.error, error


def with_langchain_openai(url, expected):
    import openai
    from langchain_openai import OpenAIEmbeddings

    # Otherwise it sends token ids of OpenAI's own models, which no other model can read.
    more = {"base_url": f"{url}/v1", "api_key": "none is needed", "check_embedding_ctx_length": False, "max_retries": 0}
    embeddings = OpenAIEmbeddings(model=expected.model, **more)
    expected.check(embeddings.embed_documents(expected.texts))
    expected.check_query(OpenAIEmbeddings(model=expected.model + ":query", **more).embed_query(expected.texts[0]))
    check_openai_errors(
        openai,
        lambda model, texts: OpenAIEmbeddings(model=model or expected.model, **more).embed_documents(texts),
    )


def with_langchain_ollama(url, expected):
    import ollama
    from langchain_ollama import OllamaEmbeddings

    embeddings = OllamaEmbeddings(model=expected.model, base_url=url)
    expected.check(embeddings.embed_documents(expected.texts))
    expected.check_query(OllamaEmbeddings(model=expected.model + ":query", base_url=url).embed_query(expected.texts[0]))
    # It asks `/api/tags` for the model first, if told to.
    OllamaEmbeddings(model=expected.model, base_url=url, validate_model_on_init=True)
    unknown = OllamaEmbeddings(model=UNKNOWN, base_url=url)
    assert refused(ollama.ResponseError, lambda: unknown.embed_query("a river")).status_code == 404


def with_llama_index_openai(url, expected):
    import openai
    from llama_index.embeddings.openai import OpenAIEmbedding

    def embedding(model):
        return OpenAIEmbedding(model_name=model, api_base=f"{url}/v1", api_key="none is needed", max_retries=1)

    expected.check(embedding(expected.model).get_text_embedding_batch(expected.texts))
    expected.check_query(embedding(expected.model + ":query").get_query_embedding(expected.texts[0]))
    check_openai_errors(
        openai,
        lambda model, texts: embedding(model or expected.model).get_text_embedding_batch(texts),
    )


def with_llama_index_ollama(url, expected):
    import ollama
    from llama_index.embeddings.ollama import OllamaEmbedding

    embedding = OllamaEmbedding(model_name=expected.model, base_url=url)
    expected.check(embedding.get_text_embedding_batch(expected.texts))
    query = OllamaEmbedding(model_name=expected.model + ":query", base_url=url)
    expected.check_query(query.get_query_embedding(expected.texts[0]))
    unknown = OllamaEmbedding(model_name=UNKNOWN, base_url=url)
    assert refused(ollama.ResponseError, lambda: unknown.get_query_embedding("a river")).status_code == 404


def with_huggingface_hub(url, expected):
    from huggingface_hub import InferenceClient
    from huggingface_hub.errors import HfHubHTTPError

    client = InferenceClient(model=url)
    [vector] = client.feature_extraction(expected.texts[0])
    expected.check([vector], texts=expected.texts[:1])
    expected.check(client.feature_extraction(expected.texts))
    # Haystack's defaults; the vectors are normalised all the same, and a header says so.
    expected.check(client.feature_extraction(expected.texts, truncate=True, normalize=False))
    [query] = client.feature_extraction(expected.texts[0], prompt_name="query")
    expected.check_query(query)
    [vector] = client.feature_extraction(TOO_LONG)
    assert len(vector) == len(expected.documents[0])
    near = InferenceClient(model=f"{url}/similarity").sentence_similarity("a river", ["a river", "a stone"])
    assert near[0] > 0.999 > near[1], near

    error = refused(HfHubHTTPError, lambda: client.feature_extraction(TOO_LONG, truncate=False))
    assert error.response.status_code == 422 and "longer than the model reads" in error.response.text, error
    error = refused(HfHubHTTPError, lambda: client.feature_extraction("a river", prompt_name="poem"))
    assert error.response.status_code == 422 and "prompt_name" in error.response.text, error


def with_haystack(url, expected):
    from haystack import Document
    from haystack.utils import Secret
    from haystack_integrations.components.embedders.huggingface_api import (
        HuggingFaceAPIDocumentEmbedder,
        HuggingFaceAPITextEmbedder,
    )

    served = {"api_type": "text_embeddings_inference", "api_params": {"url": url}, "token": Secret.from_token("none")}
    documents = HuggingFaceAPIDocumentEmbedder(**served)
    documents.warm_up()
    embedded = documents.run(documents=[Document(content=text) for text in expected.texts])["documents"]
    expected.check(document.embedding for document in embedded)
    text = HuggingFaceAPITextEmbedder(**served)
    text.warm_up()
    expected.check([text.run(text=expected.texts[0])["embedding"]], texts=expected.texts[:1])


def with_haystack_openai(url, expected):
    from haystack import Document
    from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
    from haystack.utils import Secret

    served = {"model": expected.model, "api_base_url": f"{url}/v1", "api_key": Secret.from_token("none")}
    # Several batches, whose tokens it adds up.
    answer = OpenAIDocumentEmbedder(**served).run(documents=[Document(content=text) for text in expected.texts])
    expected.check(document.embedding for document in answer["documents"])
    assert answer["meta"]["usage"]["prompt_tokens"] >= len(expected.texts), answer["meta"]
    answer = OpenAITextEmbedder(**served).run(text=expected.texts[0])
    expected.check([answer["embedding"]], texts=expected.texts[:1])
    assert answer["meta"]["usage"]["total_tokens"] > 0, answer["meta"]


def with_langchain_huggingface(url, expected):
    from huggingface_hub import InferenceClient
    from langchain_huggingface import HuggingFaceEndpointEmbeddings

    # It takes the id of a model alone for its model; what it asks is a client, which may have an address.
    embeddings = HuggingFaceEndpointEmbeddings(model=f"intfloat/{expected.model}", huggingfacehub_api_token="none")
    embeddings.client = InferenceClient(model=url)
    expected.check(embeddings.embed_documents(expected.texts))
    expected.check([embeddings.embed_query(expected.texts[0])], texts=expected.texts[:1])


def with_dify(url, expected):
    """The requests of Dify's provider for TEI, in their order, and what it reads of the answers."""
    import httpx

    info = httpx.get(f"{url}/info").raise_for_status().json()
    assert list(info["model_type"]) == ["embedding"], info
    reads, at_once = info["max_input_length"], info["max_client_batch_size"]
    assert (reads, info["model_dtype"]) == (512, "int8") and at_once >= len(expected.texts), info

    texts = expected.texts[:8] + [TOO_LONG, "日本語の文章です。" * 300]
    inputs = []
    for text, tokens in zip(texts, httpx.post(f"{url}/tokenize", json={"inputs": texts}).raise_for_status().json()):
        assert tokens[0]["special"] and tokens[-1]["special"] and not tokens[1]["special"], tokens[:2]
        if len(tokens) >= reads:
            text = text[: tokens[reads - 1 - 20]["start"]]
        inputs.append(text)
    assert inputs[:8] == texts[:8] and all(0 < len(cut) < len(text) for cut, text in zip(inputs[8:], texts[8:]))
    answer = httpx.post(f"{url}/v1/embeddings", json={"input": inputs}, timeout=60).raise_for_status().json()
    expected.check([row["embedding"] for row in answer["data"][:8]], texts=texts[:8])
    assert len(answer["data"]) == len(texts) and answer["usage"]["total_tokens"] > 0
    refusal = httpx.post(f"{url}/rerank", json={"query": "a", "texts": ["b"], "return_text": True})
    assert refusal.status_code == 424 and "/embed" in refusal.json()["error"], refusal.text

    # What `/tokenize` calls the tokens of a text is what `/decode` makes one of.
    [tokens] = httpx.post(f"{url}/tokenize", json={"inputs": "A river, and a bank."}).raise_for_status().json()
    ids = [token["id"] for token in tokens]
    assert httpx.post(f"{url}/decode", json={"ids": ids}).json() == ["passage: A river, and a bank."]
    own = [token for token in tokens if token["start"] is not None]
    assert [token["start"] for token in own][:3] == [0, 2, 7], own


CLIENTS = {
    "openai": with_openai,
    "ollama": with_ollama,
    "langchain-openai": with_langchain_openai,
    "langchain-ollama": with_langchain_ollama,
    "llama-index-openai": with_llama_index_openai,
    "llama-index-ollama": with_llama_index_ollama,
    "huggingface-hub": with_huggingface_hub,
    "haystack": with_haystack,
    "haystack-openai": with_haystack_openai,
    "langchain-huggingface": with_langchain_huggingface,
    "dify": with_dify,
}

if __name__ == "__main__":
    main(*sys.argv[1:])
