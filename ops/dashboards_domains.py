"""What the domains themselves tell: usage against quotas, goods in stock, loyalty points, alerts."""

from __future__ import annotations

from ops.dashboards_parts import Board, Query, Row, bars, line, number, rate


def _facts(agent: str, types: str) -> Query:
    return rate("sluice_facts_total", "event_type", f'{{worker, agent="{agent}", event_type=~"{types}"}}')


USAGE = Board(
    "usage",
    "Sluice / Usage",
    "What tenants use, how near they are to their quotas, and which alerts follow. Who they are is in the views.",
    (
        Row(
            "Now",
            (
                number(
                    "Usage events per second",
                    "Counted in any meter.",
                    "eps",
                    "sum(rate(sluice_usage_events_total{worker}[$__rate_interval]))",
                ),
                number(
                    "Quotas used up",
                    "Quotas at or above 100 % of their limit in the current period.",
                    "short",
                    'sum(sluice_usage_quotas{worker, used="100+"})',
                    (None, "green"),
                    (1.0, "orange"),
                ),
                number(
                    "Quotas near their limit",
                    "Between 80 % and 100 %.",
                    "short",
                    'sum(sluice_usage_quotas{worker, used="80-100"})',
                ),
                number(
                    "Alerts firing",
                    "All severities, all domains.",
                    "short",
                    "sum(sluice_alerts_firing{worker})",
                ),
            ),
        ),
        Row(
            "Usage",
            (
                line(
                    "Usage events, by meter",
                    "Meters that tenants name themselves are one line, `other`.",
                    "eps",
                    rate("sluice_usage_events_total", "meter"),
                    stacked=True,
                ),
                line(
                    "Usage, by meter",
                    "Units of each meter per second.",
                    "short",
                    rate("sluice_usage_quantity_total", "meter"),
                ),
                line(
                    "Late usage",
                    "Events that came after their hour had closed: counted as an adjustment, or refused.",
                    "eps",
                    rate("sluice_usage_late_events_total", "outcome"),
                ),
            ),
        ),
        Row(
            "Quotas and alerts",
            (
                bars(
                    "Quotas, by share used",
                    "How many quotas are how full.",
                    "short",
                    Query("sum by (used) (sluice_usage_quotas{worker})", "{{used}} %"),
                ),
                line(
                    "Quota events",
                    "Thresholds that were reached, and quotas that have room again.",
                    "eps",
                    _facts("usage", r"usage\\.quota\\..+"),
                ),
                line(
                    "Alerts firing, by severity",
                    "Of all domains, as GET /alerts lists them.",
                    "short",
                    Query("sum by (severity) (sluice_alerts_firing{worker})", "{{severity}}"),
                    stacked=True,
                ),
            ),
        ),
    ),
)

STOCK_AND_LOYALTY = Board(
    "stock-loyalty",
    "Sluice / Stock and loyalty",
    "What moves in the warehouses and on the customers' points, and what is refused and why.",
    (
        Row(
            "Stock",
            (
                number(
                    "Low products",
                    "Products in a warehouse at or below their reorder point, not recovered since.",
                    "short",
                    "sum(sluice_stock_low_products{worker})",
                    (None, "green"),
                    (1.0, "orange"),
                ),
                number(
                    "Movements per second",
                    "Entries, exits, allocations and transfers that are done.",
                    "eps",
                    'sum(rate(sluice_events_processed_total{worker, agent="stock", outcome="done"}[$__rate_interval]))',
                ),
                number(
                    "Records of stock",
                    "Products, lots and movements that the tables hold.",
                    "short",
                    'sum(sluice_table_keys{worker, table="stock"})',
                ),
            ),
        ),
        Row(
            "Movements",
            (
                line(
                    "Facts of stock, by type",
                    "What happened in the warehouses.",
                    "eps",
                    _facts("stock", ".+"),
                    stacked=True,
                ),
                line(
                    "Stock that runs low",
                    "Products that fell to their reorder point, and those that recovered.",
                    "eps",
                    _facts("stock", r"stock\\.level\\..+"),
                ),
                line(
                    "Refused commands of stock",
                    "By reason, such as INSUFFICIENT_STOCK.",
                    "eps",
                    rate("sluice_events_refused_total", "reason", '{worker, agent="stock"}'),
                ),
            ),
        ),
        Row(
            "Loyalty",
            (
                line(
                    "Points, by movement",
                    "Points per second: issued, redeemed, expired, taken back, given back.",
                    "short",
                    rate("sluice_loyalty_points_total", "movement"),
                ),
                line(
                    "Facts of customers, by type",
                    "Profiles, points and tiers.",
                    "eps",
                    _facts("customer", ".+"),
                    stacked=True,
                ),
                line(
                    "Refused commands of customers",
                    "By reason, such as INSUFFICIENT_POINTS.",
                    "eps",
                    rate("sluice_events_refused_total", "reason", '{worker, agent="customer"}'),
                ),
            ),
        ),
    ),
)
