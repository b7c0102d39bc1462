-- Which spans carry an event that agent_events is for? Nothing is kept here: the view that fills it is cheap to plan, and the
-- one behind it, which types them, is planned only where such a span comes.
CREATE TABLE IF NOT EXISTS spans_with_events
(
    Timestamp DateTime64(9),
    TraceId String,
    SpanId String,
    ServiceName LowCardinality(String),
    SpanAttributes Map(LowCardinality(String), String),
    `Events.Timestamp` Array(DateTime64(9)),
    `Events.Name` Array(LowCardinality(String)),
    `Events.Attributes` Array(Map(LowCardinality(String), String))
)
ENGINE = Null;
