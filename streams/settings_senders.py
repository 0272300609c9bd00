"""Settings of those who send notifications; part of ``streams.settings``."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode


class SenderSettings(BaseSettings):
    """What senders need to know (contracts 3.4).

    Attributes:
        senders: whether this worker sends notifications at all.
        notification_max_age: older orders are not sent any more, so that a rebuild never sends again.
        send_timeout_s: of one request to a provider.
        smtp_host, smtp_port, smtp_tls: the mail server; without a host no e-mail is sent.
        smtp_username, smtp_password: log in to it.
        smtp_from: the sender's address.
        webhook_allow: URLs, with commas between, below which a notification may make a worker call.
        sms_webhook, push_webhook: where notifications of these channels are posted.
    """

    senders: bool = True
    notification_max_age: timedelta = Field(timedelta(hours=1), ge=timedelta(minutes=1), le=timedelta(days=6))
    send_timeout_s: float = Field(10.0, gt=0, le=30)
    smtp_host: str | None = Field(None, min_length=1)
    smtp_port: int = Field(587, ge=1, le=65535)
    smtp_tls: Literal["none", "starttls", "tls"] = "starttls"
    smtp_username: str | None = None
    smtp_password: SecretStr | None = None
    smtp_from: str | None = Field(None, pattern=r"^[^@\s<>]+@[^@\s<>]+$")
    webhook_allow: Annotated[tuple[str, ...], NoDecode] = ()
    sms_webhook: str | None = Field(None, pattern=r"^https?://\S+$", repr=False)
    push_webhook: str | None = Field(None, pattern=r"^https?://\S+$", repr=False)

    @field_validator("webhook_allow", mode="before")
    @classmethod
    def _prefixes(cls, value: Any) -> Any:
        prefixes = value.split(",") if isinstance(value, str) else value
        found = tuple(prefix.strip() for prefix in prefixes if prefix.strip())
        for prefix in found:
            parts = urlsplit(prefix)
            if (
                parts.scheme not in ("http", "https")
                or not parts.hostname
                or parts.query
                or "@" in parts.netloc
            ):
                raise ValueError("not URLs such as https://hooks.example.com/in, with commas between")
        return found

    def sender_errors(self) -> list[str]:
        """Return what is wrong with these settings together."""
        wrong = []
        if self.smtp_host is not None and self.smtp_from is None:
            wrong.append("SMTP_HOST needs SMTP_FROM")
        if (self.smtp_username is None) != (self.smtp_password is None):
            wrong.append("SMTP_USERNAME and SMTP_PASSWORD belong together")
        if self.smtp_username is not None and self.smtp_tls == "none":
            wrong.append("SMTP_USERNAME must not travel in the clear; set SMTP_TLS to starttls or tls")
        return wrong
