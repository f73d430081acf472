"""One turn of a conversation in a model's own chat template: the prompt's text, then the picture, then the answer.

Knows nothing of networks or pixels, only how many tokens stand for a picture. The answer is tokenised by itself, so that
the tokens of the prompt never depend on it: serving has the prompt as token ids and continues from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from safelight.errors import ConfigError

_ANSWER = "ANSWER"


@dataclass(frozen=True)
class Chat:
    """tokenizer: of transformers, with a chat template. placeholder: what the template writes for a picture.
    picture: the text that takes its place, one image token for each feature of the picture."""

    tokenizer: Any
    placeholder: str
    picture: str

    def prompt_ids(self, prompt: str) -> list[int]:
        """The prompt up to where the model is to go on, the image's tokens in it.

        Raises ConfigError when the template does not place exactly one picture, or the prompt holds the placeholder.
        """
        text = self._rendered([_user(prompt)], going_on=True)
        if text.count(self.placeholder) != 1:
            raise ConfigError(
                f"Expected the chat template to place one picture, and it places {text.count(self.placeholder)}."
            )
        return self._ids(text.replace(self.placeholder, self.picture))

    def answer_ids(self, answer: str) -> list[int]:
        """The answer and its end token."""
        return [*self._ids(answer), self.end_id]

    @property
    def end_id(self) -> int:
        """The token with which the template ends an answer; the tokenizer's end of sequence where it writes none."""
        turn = [_user(""), {"role": "assistant", "content": [{"type": "text", "text": _ANSWER}]}]
        after = self._ids(self._rendered(turn, going_on=False).rpartition(_ANSWER)[2])
        if after and after[0] in self.tokenizer.added_tokens_decoder:
            return after[0]
        if self.tokenizer.eos_token_id is None:
            raise ConfigError("Expected a chat template that ends answers with a token of its own, or an eos token.")
        return int(self.tokenizer.eos_token_id)

    @property
    def pad_id(self) -> int:
        """What fills shorter rows. It is masked, so any token will do."""
        pad = self.tokenizer.pad_token_id
        return self.end_id if pad is None else int(pad)

    def _rendered(self, turns: list[dict[str, Any]], *, going_on: bool) -> str:
        return str(self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=going_on))

    def _ids(self, text: str) -> list[int]:
        # The template writes the special tokens itself.
        return [int(token) for token in self.tokenizer(text, add_special_tokens=False)["input_ids"]]


def _user(prompt: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": prompt}, {"type": "image"}]}
