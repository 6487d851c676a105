"""The official openai client against a live server: openai_client.py MLA_COMMAND MODEL.gguf"""

import asyncio
import concurrent.futures
import json
import math
import os
import signal
import sys
import tempfile
import threading
import time
import unittest
from typing import Literal, Optional

import httpx
import openai
import pydantic

from chat_model import with_chat_template
from live_server import Server

COMMAND, MODEL = sys.argv[1], sys.argv[2]
FOLDER = tempfile.TemporaryDirectory()
CHAT_MODEL = os.path.join(FOLDER.name, "tiny.gguf")
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
HELLO = [{"role": "user", "content": "Tell me about the moon."}]
STORY = "Once upon a time there was a little fox who lived in the wood, and every day it went to the river to look for fish. "


def client_of(server, key="none"):
    return openai.OpenAI(base_url=server.address + "/v1", api_key=key, max_retries=0, timeout=60)


class Live(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not os.path.exists(CHAT_MODEL):
            with_chat_template(MODEL, CHAT_MODEL)
        cls.server = Server(COMMAND, CHAT_MODEL)
        cls.client = client_of(cls.server)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        assert cls.server.stop() == 0, cls.server.messages()

    def complete(self, **arguments):
        arguments = {"model": "tiny", "prompt": STORY, "max_tokens": 16, "temperature": 0, **arguments}
        return self.client.completions.create(**arguments)

    def chat(self, **arguments):
        arguments = {"model": "tiny", "messages": HELLO, "max_tokens": 16, "temperature": 0, **arguments}
        return self.client.chat.completions.create(**arguments)


class Models(Live):
    def test_list_and_retrieve(self):
        self.assertEqual([m.id for m in self.client.models.list()], ["tiny"])
        self.assertEqual(self.client.models.retrieve("tiny").object, "model")

    def test_ap12_unknown_model_is_404(self):
        for call in (
            lambda: self.client.models.retrieve("other"),
            lambda: self.chat(model="other"),
            lambda: self.complete(model="other"),
            lambda: self.client.embeddings.create(model="other", input="a"),
        ):
            with self.assertRaises(openai.NotFoundError) as caught:
                call()
            self.assertEqual(caught.exception.code, "model_not_found")


class Completions(Live):
    def test_stream_equals_whole(self):
        for arguments in ({}, {"stop": ["the", "\n"]}, {"max_tokens": 1}, {"temperature": 1, "seed": 5}, {"logprobs": 3}):
            whole = self.complete(**arguments)
            text, reason, tokens = "", None, []
            for chunk in self.complete(stream=True, **arguments):
                text += chunk.choices[0].text
                reason = chunk.choices[0].finish_reason or reason
                if chunk.choices[0].logprobs:
                    tokens += chunk.choices[0].logprobs.tokens
            self.assertEqual(text, whole.choices[0].text)
            self.assertEqual(reason, whole.choices[0].finish_reason)
            self.assertEqual(tokens, whole.choices[0].logprobs.tokens if "logprobs" in arguments else [])

    def test_every_kind_of_prompt(self):
        one = self.complete(prompt="The cat").choices[0].text
        ids = self.server.post("/tokenize", {"content": "The cat"})[1]["tokens"]
        self.assertEqual(self.complete(prompt=ids).choices[0].text, one)
        many = self.complete(prompt=["The cat", "The dog"]).choices
        self.assertEqual([c.index for c in many], [0, 1])
        self.assertEqual(many[0].text, one)
        self.assertEqual([c.text for c in self.complete(prompt=[ids, ids]).choices], [one, one])

    def test_ap02_an_empty_prompt_begins_a_text(self):
        self.assertEqual(self.complete(prompt="", max_tokens=4).usage.prompt_tokens, 1)

    def test_echo(self):
        self.assertTrue(self.complete(echo=True).choices[0].text.startswith(STORY))
        only = self.complete(echo=True, max_tokens=0)
        self.assertEqual(only.choices[0].text, STORY)
        self.assertEqual(only.usage.completion_tokens, 0)

    def test_ap08_echo_with_logprobs_of_the_prompt(self):
        whole = self.complete(echo=True, logprobs=2, max_tokens=5)
        logprobs = whole.choices[0].logprobs
        self.assertEqual(len(logprobs.tokens), whole.usage.prompt_tokens + 5)
        self.assertIsNone(logprobs.token_logprobs[0])
        self.assertEqual("".join(logprobs.tokens[1:]), whole.choices[0].text)
        self.assertTrue(all(p <= 0 for p in logprobs.token_logprobs[1:]))
        self.assertEqual(logprobs.text_offset, sorted(logprobs.text_offset))
        # A token of the answer has the same probability when it is part of a prompt.
        ids = self.server.post("/tokenize", {"content": whole.choices[0].text})[1]["tokens"]
        again = self.complete(prompt=ids, echo=True, logprobs=2, max_tokens=0).choices[0].logprobs
        if again.tokens == logprobs.tokens:
            for a, b in zip(again.token_logprobs[1:], logprobs.token_logprobs[1:]):
                self.assertAlmostEqual(a, b, delta=0.05)

    def test_n_choices_have_seeds_of_their_own(self):
        three = self.complete(n=3, temperature=1, seed=7)
        self.assertEqual([c.index for c in three.choices], [0, 1, 2])
        self.assertEqual(len({c.text for c in three.choices}), 3)
        second = self.complete(temperature=1, seed=8)
        self.assertEqual(second.choices[0].text, three.choices[1].text)

    def test_what_is_not_served_is_refused_by_name(self):
        for field, value in (("suffix", "x"), ("best_of", 3)):
            with self.assertRaises(openai.BadRequestError) as caught:
                self.complete(**{field: value})
            self.assertEqual(caught.exception.param, field)


class Chat(Live):
    def test_stream_equals_whole(self):
        for arguments in ({}, {"stop": "e"}, {"temperature": 1, "seed": 3}, {"logprobs": True, "top_logprobs": 2}):
            whole = self.chat(**arguments)
            text, roles, reasons, tokens = "", [], [], []
            for chunk in self.chat(stream=True, **arguments):
                choice = chunk.choices[0]
                text += choice.delta.content or ""
                roles.append(choice.delta.role)
                reasons.append(choice.finish_reason)
                if choice.logprobs:
                    tokens += choice.logprobs.content
            self.assertEqual(text, whole.choices[0].message.content)
            self.assertEqual(roles[0], "assistant")
            self.assertEqual(reasons[-1], whole.choices[0].finish_reason)
            self.assertEqual(reasons[:-1], [None] * (len(reasons) - 1))
            if whole.choices[0].logprobs:
                self.assertEqual([t.token for t in tokens], [t.token for t in whole.choices[0].logprobs.content])

    def test_ap15_usage_is_the_last_chunk(self):
        chunks = list(self.chat(stream=True, stream_options={"include_usage": True}))
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual(chunks[-1].usage.completion_tokens, 16)
        self.assertTrue(all(c.usage is None for c in chunks[:-1]))
        self.assertEqual(len({(c.id, c.created, c.model, c.object) for c in chunks}), 1)

    def test_ap11_usage_equals_the_tokenizers_counts(self):
        text = "user: Tell me about the moon.\nassistant:"
        # A template says itself whether a conversation begins with BOS.
        n = self.server.post("/tokenize", {"content": text, "add_special": False})[1]["count"]
        self.assertEqual(self.chat().usage.prompt_tokens, n)

    def test_ap11_cached_tokens(self):
        messages = [{"role": "user", "content": STORY * 6}]
        first = self.chat(messages=messages)
        again = self.chat(messages=messages)
        self.assertGreaterEqual(again.usage.prompt_tokens_details.cached_tokens, 64)
        self.assertLess(again.usage.prompt_tokens_details.cached_tokens, again.usage.prompt_tokens)
        self.assertEqual(first.choices[0].message.content, again.choices[0].message.content)

    def test_ap03_a_prompt_beyond_the_context(self):
        for call in (lambda: self.chat(messages=[{"role": "user", "content": STORY * 40}]), lambda: self.complete(prompt=STORY * 40)):
            with self.assertRaises(openai.BadRequestError) as caught:
                call()
            self.assertEqual(caught.exception.code, "context_length_exceeded")
            self.assertIn("512", caught.exception.message)

    def test_ap04_max_tokens(self):
        self.assertEqual(self.chat(max_tokens=1).usage.completion_tokens, 1)
        self.assertEqual(self.chat(max_tokens=1).choices[0].finish_reason, "length")
        with self.assertRaises(openai.BadRequestError) as caught:
            self.chat(max_tokens=100000)
        self.assertEqual(caught.exception.code, "context_length_exceeded")

    def test_roles_and_parts(self):
        parts = [{"type": "text", "text": "Tell me "}, {"type": "text", "text": "about the moon."}]
        whole = self.chat(messages=[{"role": "user", "content": parts}])
        self.assertEqual(whole.choices[0].message.content, self.chat().choices[0].message.content)
        self.chat(messages=[{"role": "developer", "content": "Be brief."}, *HELLO])
        self.chat(messages=[{"role": "system", "content": "Be brief."}])

    def test_tools(self):
        self.assertIn(self.chat(tools=[TOOL]).choices[0].finish_reason, ("stop", "length", "tool_calls"))
        for choice in ("required", {"type": "function", "function": {"name": "weather"}}):
            answer = self.chat(tools=[TOOL], tool_choice=choice, max_tokens=100).choices[0]
            self.assertEqual(answer.finish_reason, "tool_calls")
            self.assertEqual([c.function.name for c in answer.message.tool_calls], ["weather"])
            self.assertEqual(json.loads(answer.message.tool_calls[0].function.arguments), {})
        with self.assertRaises(openai.BadRequestError) as caught:
            self.chat(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "other"}})
        self.assertEqual(caught.exception.param, "tool_choice")
        # "none": the tools are not shown.
        self.assertEqual(self.chat(tools=[TOOL], tool_choice="none").usage.prompt_tokens, self.chat().usage.prompt_tokens)

    def test_ap10_streamed_calls_are_the_whole_ones(self):
        parameters = {"type": "object", "properties": {"city": {"enum": ["Paris"]}, "days": {"enum": [2]}}, "required": ["city", "days"], "additionalProperties": False}
        tool = {"type": "function", "function": {"name": "weather", "parameters": parameters}}
        for max_tokens in (24, 28, 100):
            arguments = {"tools": [tool], "tool_choice": "required", "max_tokens": max_tokens}
            whole = self.chat(**arguments).choices[0]
            calls, content, reason = {}, "", None
            for chunk in self.chat(stream=True, **arguments):
                choice = chunk.choices[0]
                content += choice.delta.content or ""
                reason = choice.finish_reason or reason
                for delta in choice.delta.tool_calls or []:
                    if delta.index not in calls:
                        self.assertEqual((delta.type, delta.function.arguments), ("function", ""))
                        self.assertTrue(delta.id)
                        calls[delta.index] = [delta.function.name, []]
                    else:
                        self.assertEqual((delta.id, delta.type, delta.function.name), (None, None, None))
                        calls[delta.index][1].append(delta.function.arguments)
            self.assertEqual(
                [(name, "".join(pieces)) for name, pieces in calls.values()],
                [(c.function.name, c.function.arguments) for c in whole.message.tool_calls or []],
            )
            self.assertEqual((content, reason), (whole.message.content or "", whole.finish_reason))
        self.assertEqual(calls[0][0], "weather")
        self.assertIn('"Paris"', "".join(calls[0][1]))
        self.assertGreater(len(calls[0][1]), 2, "the arguments came piece by piece")

    def test_ap16_equal_prompts_at_once_give_equal_texts(self):
        messages = [{"role": "user", "content": STORY * 4}]
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda _: self.chat(messages=messages), range(16)))
        self.assertEqual(len({a.choices[0].message.content for a in answers}), 1)
        self.assertGreater(sum(a.usage.prompt_tokens_details.cached_tokens > 0 for a in answers), 8)

    def test_32_streams_at_once(self):
        async def one(client, i):
            text = ""
            stream = await client.chat.completions.create(
                model="tiny", messages=[{"role": "user", "content": f"Tell me about number {i}."}], max_tokens=24, temperature=0, stream=True
            )
            async for chunk in stream:
                text += chunk.choices[0].delta.content or ""
            return text

        async def all_of_them():
            async with openai.AsyncOpenAI(base_url=self.server.address + "/v1", api_key="x", max_retries=0) as client:
                return await asyncio.gather(*(one(client, i) for i in range(32)))

        self.assertEqual(len(asyncio.run(all_of_them())), 32)

    def test_a_client_that_leaves_frees_its_place(self):
        before = self.server.metric('mla_requests_total{finish_reason="cancelled"}')
        stream = self.chat(stream=True, max_tokens=400, extra_body={"ignore_eos": True})
        next(iter(stream))
        stream.close()
        end = time.monotonic() + 10
        while time.monotonic() < end and self.server.metric("mla_requests_running") > 0:
            time.sleep(0.02)
        self.assertEqual(self.server.metric("mla_requests_running"), 0)
        self.assertLessEqual(self.server.metric('mla_requests_total{finish_reason="cancelled"}') - before, 1)

    def test_ap13_every_error_has_four_keys(self):
        for path, body in (
            ("/v1/chat/completions", {}),
            ("/v1/chat/completions", b"{"),
            ("/v1/completions", {"prompt": "a", "n": 10**6}),
            ("/v1/embeddings", {"input": []}),
            ("/nowhere", {}),
        ):
            status, answer = self.server.post(path, body)
            self.assertGreaterEqual(status, 400)
            self.assertEqual(sorted(answer["error"]), ["code", "message", "param", "type"], path)


class Animal(pydantic.BaseModel):
    name: str = pydantic.Field(max_length=12)
    legs: int = pydantic.Field(ge=0, le=8)
    sound: Literal["bark", "meow", "moo"]
    friends: list[str] = pydantic.Field(max_length=0)
    owner: Optional[bool]


class JsonAnswers(Live):
    SCHEMA = {
        "type": "object",
        "properties": {"title": {"type": "string", "maxLength": 20}, "year": {"type": "integer"}, "kind": {"enum": ["film", "book"]}},
        "required": ["title", "year", "kind"],
        "additionalProperties": False,
    }
    FORMAT = {"type": "json_schema", "json_schema": {"name": "work", "strict": True, "schema": SCHEMA}}

    def expect_work(self, text):
        work = json.loads(text)
        self.assertEqual(list(work), ["title", "year", "kind"])
        self.assertLessEqual(len(work["title"]), 20)
        self.assertIsInstance(work["year"], int)
        self.assertIn(work["kind"], ("film", "book"))

    def test_a_schema_holds(self):
        for arguments in ({}, {"temperature": 1.5, "seed": 3, "n": 4}, {"temperature": 1, "top_p": 0.5, "frequency_penalty": 2, "logprobs": True}):
            for choice in self.chat(max_tokens=400, response_format=self.FORMAT, **arguments).choices:
                self.assertEqual(choice.finish_reason, "stop")
                self.expect_work(choice.message.content)

    def test_stream_equals_whole(self):
        arguments = {"max_tokens": 400, "response_format": self.FORMAT, "temperature": 1, "seed": 8}
        text = "".join(c.choices[0].delta.content or "" for c in self.chat(stream=True, **arguments))
        self.expect_work(text)
        self.assertEqual(text, self.chat(**arguments).choices[0].message.content)

    def test_the_client_parses_into_its_classes(self):
        answer = self.client.chat.completions.parse(model="tiny", messages=HELLO, response_format=Animal, max_tokens=400, temperature=1, seed=1)
        animal = answer.choices[0].message.parsed
        self.assertIsInstance(animal, Animal)
        self.assertEqual(animal.friends, [])

    def test_any_object(self):
        answer = self.chat(max_tokens=200, response_format={"type": "json_object"}).choices[0]
        if answer.finish_reason == "stop":
            self.assertIsInstance(json.loads(answer.message.content), dict)
        self.assertTrue(answer.message.content.strip().startswith("{"))

    def test_completions(self):
        self.expect_work(self.complete(max_tokens=400, extra_body={"response_format": self.FORMAT}).choices[0].text)

    def test_what_cannot_be_kept_is_refused_with_its_place(self):
        schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}}
        with self.assertRaises(openai.BadRequestError) as caught:
            self.chat(response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}})
        self.assertEqual(caught.exception.param, "response_format.json_schema.schema")
        self.assertIn("#/properties/a/pattern", caught.exception.message)


class Embeddings(Live):
    def test_vectors(self):
        one = self.client.embeddings.create(model="tiny", input="The cat", encoding_format="float").data[0].embedding
        self.assertAlmostEqual(math.fsum(x * x for x in one), 1.0, places=4)
        # The client asks for base64 by itself and decodes it.
        for a, b in zip(one, self.client.embeddings.create(model="tiny", input="The cat").data[0].embedding, strict=True):
            self.assertAlmostEqual(a, b, places=5)
        many = self.client.embeddings.create(model="tiny", input=["The cat", "A ship at sea"])
        self.assertEqual([d.index for d in many.data], [0, 1])
        similarity = math.fsum(x * y for x, y in zip(many.data[0].embedding, one))
        self.assertAlmostEqual(similarity, 1.0, places=2)
        self.assertLess(math.fsum(x * y for x, y in zip(many.data[1].embedding, one)), 0.999)
        self.assertEqual(many.usage.prompt_tokens, many.usage.total_tokens)

    def test_dimensions_are_refused(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            self.client.embeddings.create(model="tiny", input="a", dimensions=5)
        self.assertEqual(caught.exception.param, "dimensions")


class OtherRoutes(Live):
    def test_tokenize_and_back(self):
        for text in ("", "The cat", "h\u00e9llo \U0001f600\n\n", "<|begin_of_text|>"):
            ids = self.server.post("/tokenize", {"content": text, "add_special": False})[1]["tokens"]
            self.assertEqual(self.server.post("/detokenize", {"tokens": ids})[1]["content"], text)
        self.assertEqual(self.server.post("/detokenize", {"tokens": [10**6]})[0], 400)

    def test_states(self):
        for path in ("/livez", "/readyz", "/health", "/version", "/metrics", "/"):
            self.assertEqual(self.server.get(path)[0], 200, path)
        self.assertIn("mla_build_info", self.server.get("/metrics")[1])


class WithoutTemplate(unittest.TestCase):
    def test_chat_is_refused_clearly(self):
        server = Server(COMMAND, MODEL)
        try:
            with client_of(server) as client, self.assertRaises(openai.BadRequestError) as caught:
                client.chat.completions.create(model="mla-default", messages=HELLO)
            self.assertIn("no chat template", caught.exception.message)
        finally:
            self.assertEqual(server.stop(), 0)


class WithKeys(unittest.TestCase):
    def test_keys(self):
        keys = os.path.join(FOLDER.name, "keys")
        with open(os.open(keys, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.write("alice:alice-key-0123456789\nroot:admin:admin-key-0123456789\n")
        server = Server(COMMAND, MODEL, "--api-key-file", keys)
        try:
            with self.assertRaises(openai.AuthenticationError):
                client_of(server, "wrong-key-0123456789").models.list()
            alice = client_of(server, "alice-key-0123456789")
            self.assertEqual(len(list(alice.models.list())), 1)
            prompt = {"model": "mla-default", "prompt": STORY * 4, "max_tokens": 1}
            alice.completions.create(**prompt)
            self.assertGreater(alice.completions.create(**prompt).usage.prompt_tokens_details.cached_tokens, 0)
            # Another key's prefixes are not to be seen.
            root = client_of(server, "admin-key-0123456789")
            self.assertEqual(root.completions.create(**prompt).usage.prompt_tokens_details.cached_tokens, 0)
            self.assertIn(server.get("/metrics", {"Authorization": "Bearer alice-key-0123456789"})[0], (401, 403))
            self.assertEqual(server.get("/metrics", {"Authorization": "Bearer admin-key-0123456789"})[0], 200)
            self.assertEqual(server.get("/metrics")[0], 401)
            self.assertEqual(server.get("/livez")[0], 200)
            for path in ("/v1/models", "/v1/models/mla-default", "/version", "/health", "/readyz", "/metrics"):
                self.assertEqual(server.get(path)[0], 401, path)
            for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/tokenize", "/detokenize"):
                status, body = server.post(path, {})
                self.assertEqual((status, body["error"]["type"]), (401, "authentication_error"), path)
            self.assertNotIn("key-0123456789", server.messages())
        finally:
            self.assertEqual(server.stop(), 0)


class Life(unittest.TestCase):
    def test_a_unix_socket(self):
        path = os.path.join(FOLDER.name, "socket")
        server = Server(COMMAND, MODEL, "--unix-socket", path, wait=False)
        try:
            with httpx.Client(transport=httpx.HTTPTransport(uds=path), base_url="http://localhost") as http:
                end = time.monotonic() + 60
                while http.get("/readyz").status_code != 200 and time.monotonic() < end:
                    time.sleep(0.05)
                self.assertEqual(http.get("/v1/models").json()["data"][0]["id"], "mla-default")
            self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        finally:
            self.assertEqual(server.stop(), 0)

    def test_a_prefix_survives_a_restart_on_disk(self):
        folder = os.path.join(FOLDER.name, "disk")
        answers = []
        for _ in range(2):
            server = Server(COMMAND, MODEL, "--disk-cache", folder, "--disk-cache-budget", "64MiB")
            try:
                with client_of(server) as client:
                    answers.append(client.completions.create(model="mla-default", prompt=STORY * 8, max_tokens=24, temperature=0))
            finally:
                self.assertEqual(server.stop(), 0)
        self.assertEqual(answers[0].choices[0].text, answers[1].choices[0].text)
        self.assertEqual(answers[0].usage.prompt_tokens_details.cached_tokens, 0)
        self.assertGreaterEqual(answers[1].usage.prompt_tokens_details.cached_tokens, 64)

    def end_during_a_stream(self, *flags, signals):
        server = Server(COMMAND, MODEL, *flags)
        client = client_of(server)
        texts, errors = [], []

        def read():
            try:
                for chunk in client.completions.create(
                    model="mla-default", prompt=STORY, max_tokens=400, stream=True, extra_body={"ignore_eos": True}
                ):
                    texts.append(chunk.choices[0].finish_reason)
            except openai.APIError as e:
                errors.append(e)

        reader = threading.Thread(target=read)
        reader.start()
        while not texts and reader.is_alive():
            time.sleep(0.001)
        for s in signals:
            server.process.send_signal(s)
            time.sleep(0.02)
        reader.join(60)
        self.assertEqual(server.process.wait(60), 0)
        server.stop()
        return texts, errors

    def test_ht22_a_signal_lets_answers_complete(self):
        texts, errors = self.end_during_a_stream(signals=[signal.SIGTERM])
        self.assertEqual(errors, [])
        self.assertEqual(texts[-1], "length")

    def test_ht22_a_drain_that_is_over_ends_streams_with_an_error(self):
        texts, errors = self.end_during_a_stream("--drain-timeout", "0", signals=[signal.SIGINT])
        self.assertTrue(errors or texts[-1] == "length")

    def test_a_missing_model_is_told_at_once(self):
        with self.assertRaises(RuntimeError) as caught:
            Server(COMMAND, "/nowhere/model.gguf")
        self.assertIn("no such file", str(caught.exception))

    def test_beyond_loopback_only_with_keys(self):
        with self.assertRaises(RuntimeError) as caught:
            Server(COMMAND, MODEL, "--host", "0.0.0.0")
        self.assertIn("api-key-file", str(caught.exception))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
