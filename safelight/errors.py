"""Every error that Safelight raises on purpose, in one tree.

SafelightError
├── RequestError                 the asker can mend it: a 4xx
│   ├── EmptyBody                400  nothing was sent
│   ├── InvalidOption            400  a query parameter has a value that is not allowed
│   ├── MalformedBody            400  the multipart framing is broken
│   ├── MissingField             400  the form lacks the file
│   ├── Unauthenticated          401  no credentials where some are needed, or such as are not valid here
│   ├── Forbidden                403  a caller who may not ask for this
│   ├── PlaintextRefused         403  an unsealed request where only sealed ones are allowed
│   ├── UnknownModel             404  no model of that name is served
│   ├── BodyTooSlow              408  the body did not arrive in time (retryable)
│   ├── TooLarge                 413  more bytes than the limit
│   ├── TooManyPixels            413  more pixels than the limit (decompression bomb)
│   ├── SideTooLong              413  a side of more pixels than the limit
│   ├── NotAnImage               415  the bytes are no image at all
│   ├── UnsupportedFormat        415  an image, but of a format that is not on the allowlist
│   ├── TypeMismatch             415  the bytes are not what the media type says
│   ├── CorruptImage             422  an image that ends early or does not decode
│   ├── SeveralPictures          422  an animation, or a file with further pictures in it
│   ├── TrailingData             422  bytes after the end of the image
│   ├── PoorPicture              422  too blurred, dark, bright or small to be read; says how it was measured
│   ├── Unreadable               422  no answer came of the picture that holds to the schema
│   ├── RateLimited              429  more requests than the caller may make in a while (retryable)
│   ├── SealBroken               400  a sealed message that does not open; never says why
│   └── UnknownKey               400  sealed for a key that is not, or no longer, in use
├── ModelUnavailable             503  no verified model can answer now (retryable)
├── Overloaded                   503  more work than there is room for (retryable)
├── DeadlineExceeded             504  the answer was not there in time (retryable)
├── AccessUndecided              503  whether a caller may ask cannot be told now (retryable)
├── AuditUnavailable             503  the request cannot be recorded in the audit log (retryable)
├── ReplayStoreDown              503  whether a request was seen before cannot be told (retryable)
├── KeyServiceDown               503  the KMS that holds the key does not answer (retryable)
├── BundleError                  a bundle that must not be loaded
│   ├── SignatureInvalid         not signed by a trusted key, or changed since
│   ├── LabelsDiffer             its labels are not those of the models that it is to stand beside
│   └── ManifestInvalid          the manifest is missing, malformed or does not match the files
├── AnswerInvalid                a text, or an object, that is no answer of the task
├── DataError                    training data that cannot be used
├── FetchError                   an archive that cannot be had, or is not the pinned one
├── WeightsError                 a weights file that does not fit the network
├── ConfigError                  a configuration that may not be used
├── TrainingDiverged             a training whose loss or gradient is no longer a number
├── KeyNotTrusted                a service offers no key that the client may use
├── ParityError                  an exported graph that does not answer as the original does
├── RegistryUnavailable          MLflow's registry does not answer (retryable)
└── PromotionError               the champion cannot be moved
    └── PromotionRefused         a candidate that does not pass the gates

`status` is the HTTP status a service answers with, `retryable` says whether the same request may succeed later
(`retry_after_s`: in how many seconds, where that is known), and the message is public: it never holds payloads, file
names, keys or results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class SafelightError(Exception):
    """Root of the tree. `title` is constant per class, the message says what was expected and what came."""

    status: int = 500
    retryable: bool = False
    retry_after_s: int | None = None
    title: str = "Internal error"
    members: Mapping[str, Any] = {}
    """What the asker, and nobody else, is told beside the message: further members of the problem (RFC 9457, section 3.2)."""

    @property
    def detail(self) -> str:
        """The public sentence that helps."""
        return str(self)


class RequestError(SafelightError):
    """The asker can mend the request."""

    status = 400
    title = "Bad request"


class EmptyBody(RequestError):
    title = "The body is empty"


class InvalidOption(RequestError):
    title = "An option has a value that is not allowed"


class MalformedBody(RequestError):
    title = "The body is malformed"


class MissingField(RequestError):
    title = "The form lacks a field"


class Unauthenticated(RequestError):
    """One message for every failure: missing, unknown, expired, forged."""

    status = 401
    title = "Credentials are needed"

    def __init__(self, detail: str = "Expected an API key or a token that is valid here.") -> None:
        super().__init__(detail)


class Forbidden(RequestError):
    status = 403
    title = "Not allowed"

    def __init__(
        self,
        detail: str = "Expected credentials with the scope of this route. Where the service has none configured, "
        "/metrics and /v1/models answer on loopback only.",
    ) -> None:
        super().__init__(detail)


class PlaintextRefused(RequestError):
    status = 403
    title = "Plaintext requests are refused"


class UnknownModel(RequestError):
    status = 404
    title = "No such model"


class BodyTooSlow(RequestError):
    status = 408
    retryable = True
    title = "The body took too long"


class RateLimited(RequestError):
    """retry_after_s: until the caller's window ends."""

    status = 429
    retryable = True
    title = "Too many requests"

    def __init__(self, detail: str, retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class TooLarge(RequestError):
    status = 413
    title = "The body is too large"


class TooManyPixels(RequestError):
    status = 413
    title = "The image has too many pixels"


class SideTooLong(RequestError):
    status = 413
    title = "A side of the image is too long"


class NotAnImage(RequestError):
    status = 415
    title = "The body is not an image"


class UnsupportedFormat(RequestError):
    status = 415
    title = "The image format is not supported"


class TypeMismatch(RequestError):
    status = 415
    title = "The bytes do not match the media type"


class CorruptImage(RequestError):
    status = 422
    title = "The image is truncated or corrupt"


class SeveralPictures(RequestError):
    status = 422
    title = "The file holds more than one picture"


class TrailingData(RequestError):
    status = 422
    title = "Bytes follow the end of the image"


class PoorPicture(RequestError):
    """quality: every measure of the picture. problems: of each measure that is beyond its limit, both, and what to do."""

    status = 422
    title = "The picture is too poor to be read"

    def __init__(self, quality: Mapping[str, float], problems: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(" ".join(dict.fromkeys(str(problem["advice"]) for problem in problems)))
        self.members = {"quality": dict(quality), "problems": [dict(problem) for problem in problems]}


class Unreadable(RequestError):
    status = 422
    title = "Nothing was read from the picture"

    def __init__(self) -> None:
        super().__init__("No answer came that holds to the schema. Send a picture of what this model was made to read.")


class SealBroken(RequestError):
    """Every failure of every sealed protocol. One message for all of them, so that nobody learns which step failed."""

    title = "The sealed message was refused"

    def __init__(self) -> None:
        super().__init__("The sealed message does not open, or was sent before.")


class UnknownKey(RequestError):
    """The one failure that may be told apart (RFC 9458, section 5.3): the client is to fetch the keys again."""

    title = "The key is not in use"

    def __init__(self) -> None:
        super().__init__("The message is sealed for a key that is not in use here. Fetch the key configuration again.")


class ModelUnavailable(SafelightError):
    status = 503
    retryable = True
    title = "No model can answer now"


class Overloaded(SafelightError):
    """retry_after_s: when there is likely to be room again."""

    status = 503
    retryable = True
    title = "The service is busy"

    def __init__(
        self,
        detail: str = "More requests are under way than there is room for. Send it again later.",
        retry_after_s: int = 1,
    ) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(SafelightError):
    status = 504
    retryable = True
    title = "The answer was not there in time"


class AccessUndecided(SafelightError):
    status = 503
    retryable = True
    title = "The service cannot decide who may ask now"

    def __init__(
        self, detail: str = "Whether this request is allowed cannot be told now. Send it again later."
    ) -> None:
        super().__init__(detail)


class AuditUnavailable(SafelightError):
    """One message for those who ask. reason: for the log, without content."""

    status = 503
    retryable = True
    title = "The service cannot record requests now"

    def __init__(self, reason: str) -> None:
        super().__init__("Requests are refused while they cannot be entered in the audit log. Send it again later.")
        self.reason = reason


class ReplayStoreDown(SafelightError):
    status = 503
    retryable = True
    title = "The service cannot take sealed requests now"

    def __init__(self) -> None:
        super().__init__("Whether this request was seen before cannot be told now. Seal it again and send it later.")


class KeyServiceDown(SafelightError):
    status = 503
    retryable = True
    title = "The service cannot open requests for this key now"

    def __init__(self) -> None:
        super().__init__("The key management service that holds the key does not answer. Send the request again later.")


class BundleError(SafelightError):
    title = "The bundle must not be loaded"


class SignatureInvalid(BundleError):
    title = "The bundle is not signed by a trusted key"


class ManifestInvalid(BundleError):
    title = "The bundle's manifest does not hold"


class LabelsDiffer(BundleError):
    title = "The bundle's labels are not those of the models beside it"


class AnswerInvalid(SafelightError):
    title = "The answer does not hold to its schema"


class DataError(SafelightError):
    title = "The data cannot be used"


class FetchError(SafelightError):
    title = "The archive cannot be fetched"


class WeightsError(SafelightError):
    title = "The weights do not fit"


class ConfigError(SafelightError):
    title = "The configuration cannot be used"


class TrainingDiverged(SafelightError):
    title = "The training diverged"


class KeyNotTrusted(SafelightError):
    title = "The service's key is not trusted"


class ParityError(SafelightError):
    title = "The exported graph differs from the original"


class RegistryUnavailable(SafelightError):
    status = 503
    retryable = True
    title = "The model registry does not answer"


class PromotionError(SafelightError):
    title = "The champion cannot be moved"


class PromotionRefused(PromotionError):
    title = "The promotion was refused"
