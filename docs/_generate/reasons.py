"""What each reason code of an order means, and what its sender does next. One that is missing fails `make docs`."""

from __future__ import annotations

from collections.abc import Mapping

from agent.contract.command import ReasonCode as R

MEANINGS: Mapping[R, tuple[str, str]] = {
    R.NOT_AUTHORISED: (
        "Too few people, or of too few organisations, with the role that the policy asks for; or the policy expired",
        "Collect the missing signatures under a new `command_id`; renew an expired policy",
    ),
    R.EXPIRED: ("It arrived after `expires_at`, or could not begin before it", "Order again with more time"),
    R.LIFETIME_TOO_LONG: ("`expires_at` is more than 30 days after `issued_at`", "Shorten it"),
    R.REPLAYED: (
        "Its time lies where this journal has forgotten orders or had not begun; or its id stands for another order",
        "Use a new `command_id` and the present time",
    ),
    R.UNKNOWN_COMMAND: ("This release has no such command", "See `commands` in the birth message"),
    R.INVALID_REQUEST: (
        "The payload has a wrong form, lies in the future, names another command than its topic, "
        "or cannot be ordered site-wide",
        "Correct the place that the text names; send it under a new `command_id`",
    ),
    R.INVALID_ARGUMENTS: ("`arguments` are not those of this command", "Correct the place that the text names"),
    R.DEVICE_UNKNOWN: ("This terminal has no device of that name", "See `health.get` for the names"),
    R.SALE_RUNNING: ("A sale lease lives, or the terminal has just started", "Nothing: it begins by itself afterwards"),
    R.BUSY_UNKNOWN: (
        "The payment application is silent: nobody knows whether it is in a sale",
        "See that the application runs and sends `app.status`",
    ),
    R.PENDING_REVERSALS: ("The payment application has reversals to send", "Let it send them first"),
    R.UNKNOWN_RESULTS: ("The payment application has transactions without a known result", "Let it clear them first"),
    R.BATCH_UNSETTLED: ("The batch is not settled", "Settle it first"),
    R.SAF_PENDING: ("Offline sales are not sent yet", "Let the application send them first"),
    R.OPERATION_RUNNING: ("Another exclusive operation runs", "Nothing: it begins by itself afterwards"),
    R.QUEUE_FULL: ("As many orders wait as may wait", "Order again when some have ended"),
    R.OUTSIDE_WINDOW: ("Its window of the day is not open", "Nothing: it begins when the window opens"),
    R.CLOCK_UNTRUSTED: (
        "The clock is not synchronised and this command needs to know the time",
        "Nothing at first; when it ends `expired` after 24 hours, see to the terminal's time source",
    ),
    R.TERMINAL_LOCKED: ("The terminal is locked", "Have it unlocked by those who may"),
    R.FROZEN: ("Tamper or a binding mismatch: only support commands run", "Clear the cause first"),
    R.TOO_MANY_TRIES: ("It was tried as often as it may be, or too often lately", "Have a person look at the terminal"),
    R.STEP_FAILED: ("A step could not be done; the text says why", "See the text, the faults and the log"),
    R.STEP_TIMEOUT: ("A step did not end within its time", "See the text, the faults and the log"),
    R.NOT_VERIFIED: ("It was done, but its effect could not be confirmed", "Look at the terminal before repeating it"),
    R.INTERRUPTED: (
        "The agent died in the middle of a step that must not be repeated",
        "Look at the terminal: nobody can know whether it happened",
    ),
    R.RESTORED: ("The journal was restored from a backup while it was open", "Order again if it is still wanted"),
    R.CANCELLED: ("It was cancelled", "Nothing"),
}
