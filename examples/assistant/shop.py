"""What the assistant may do. Each function runs in a process of its own."""

DAYS = {"ireland": 2, "france": 4, "norway": 6, "japan": 12}
SENT = {"4711", "4712"}


def delivery_days(country: str) -> dict:
    days = DAYS.get(country.strip().lower())
    return {"country": country, "days": days} if days else {"country": country, "error": "we do not send there"}


def cancel_order(number: str) -> str:
    return f"Order {number} was sent already." if number in SENT else f"Order {number} is cancelled."
