//! `[resilience.NAME]` as it stands in a file. Times are text with a unit, or the numbers whose keys name it, as INT-083 to INT-085 do.

use csf_core::span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::breaker::BreakerPolicy;
use crate::bulkhead::BulkheadPolicy;
use crate::retry::Jitter;

/// `[resilience.NAME]`. A stage that is absent is off; a stage that is there, even empty, has the specification's values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Section {
    /// Limit of a whole call with its retries and waits, such as `"10s"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = span::PATTERN))]
    pub timeout: Option<String>,
    /// Limit of one try, such as `"2s"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = span::PATTERN))]
    pub try_timeout: Option<String>,
    /// Circuit breaker, INT-083.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<BreakerSection>,
    /// Retries, INT-084.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_policy: Option<RetrySection>,
    /// Limit of concurrent tries, INT-085.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bulkhead: Option<BulkheadSection>,
    /// Limit of tries in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimitSection>,
    /// What answers when the service does not, tried in this order, FRM-111.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fallback: Vec<FallbackSection>,
}

/// `circuit_breaker`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerSection {
    /// Consecutive failures that open it; 0 turns the rule off. Default 5.
    pub failure_threshold: Option<u32>,
    /// Share of failures in the window that opens it, such as 0.5. Off by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0.0), range(max = 1.0))]
    pub failure_rate: Option<f64>,
    /// Share of slow calls in the window that opens it, such as 0.8. Off by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0.0), range(max = 1.0))]
    pub slow_rate: Option<f64>,
    /// A call that takes longer is slow. Default `"60s"`.
    #[schemars(extend("pattern" = span::PATTERN))]
    pub slow_call: Option<String>,
    /// Calls the rates are taken over. Default 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = BreakerPolicy::WINDOW_CALLS_MAX))]
    pub window_calls: Option<u32>,
    /// Time the rates are taken over, such as `"30s"`, instead of `window_calls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = span::PATTERN))]
    pub window_time: Option<String>,
    /// Calls needed before a rate is judged. Default 100.
    #[schemars(range(min = 1, max = BreakerPolicy::WINDOW_CALLS_MAX))]
    pub minimum_calls: Option<u32>,
    /// How long it stays open. Default `"60s"`.
    #[schemars(extend("pattern" = span::PATTERN))]
    pub timeout: Option<String>,
    /// The same in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86_400))]
    pub timeout_seconds: Option<u64>,
    /// Factor on the wait for every opening in a row. Default 1.
    #[schemars(range(min = 1.0, max = 100.0))]
    pub open_growth: Option<f64>,
    /// Limit of the grown wait. Default `"1h"`.
    #[schemars(extend("pattern" = span::PATTERN))]
    pub open_max: Option<String>,
    /// Probes at the same time while half-open. Default 10.
    #[schemars(range(min = 1, max = 100_000))]
    pub half_open_max_calls: Option<u32>,
    /// The same under the name of FRM-112.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub half_open_max: Option<u32>,
    /// How long it stays half-open without a verdict. Default `"60s"`.
    #[schemars(extend("pattern" = span::PATTERN))]
    pub half_open_timeout: Option<String>,
    /// Successful probes that close it. Default `half_open_max_calls`, or the rates where `failure_rate` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub success_threshold: Option<u32>,
}

/// `retry_policy`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetrySection {
    /// Tries of a call, the first included. Default 3.
    #[schemars(range(min = 1, max = 1_000))]
    pub max_attempts: Option<u32>,
    /// Wait before the first retry. Default `"100ms"`.
    #[schemars(extend("pattern" = span::PATTERN))]
    pub initial_delay: Option<String>,
    /// The same in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86_400_000))]
    pub initial_delay_ms: Option<u64>,
    /// Longest wait before a retry. Default `"5s"`.
    #[schemars(extend("pattern" = span::PATTERN))]
    pub max_delay: Option<String>,
    /// The same in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86_400_000))]
    pub max_delay_ms: Option<u64>,
    /// Factor from one wait to the next. Default 2.
    #[schemars(range(min = 1.0, max = 100.0))]
    pub backoff_multiplier: Option<f64>,
    /// `"none"`, `"full"` or `"equal"`. Default none.
    pub jitter: Option<Jitter>,
    /// Longest wait that a service may ask for; one that asks for more is not tried again. Default `max_delay`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = span::PATTERN))]
    pub retry_after_max: Option<String>,
    /// Retries the guard has for all its calls.
    pub budget: Option<BudgetSection>,
}

/// `retry_policy.budget`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetSection {
    /// Retries earned by a call. Default 0.1.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub share: Option<f64>,
    /// Retries earned by a second. Default 1.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub per_second: Option<f64>,
    /// Most retries that can be saved up; the guard starts with as many. Default 10.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<u32>,
}

/// `bulkhead`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BulkheadSection {
    /// Tries at the same time. Default 10.
    #[schemars(range(min = 1, max = BulkheadPolicy::SLOTS_MAX))]
    pub max_concurrent_calls: Option<u32>,
    /// Longest wait for a slot. Default `"1s"`.
    #[schemars(extend("pattern" = span::PATTERN))]
    pub max_wait_duration: Option<String>,
    /// The same in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 86_400_000))]
    pub max_wait_duration_ms: Option<u64>,
    /// Calls that may wait at the same time. Default 1,000.
    #[schemars(range(min = 0, max = BulkheadPolicy::SLOTS_MAX))]
    pub max_waiting: Option<u32>,
}

/// `rate_limit`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimitSection {
    /// Tries in `per`. Default 100.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub calls: Option<u32>,
    /// Default `"1s"`.
    #[schemars(extend("pattern" = span::PATTERN))]
    pub per: Option<String>,
    /// Tries that may follow each other at once after a pause. Default `calls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub burst: Option<u32>,
    /// Longest wait for a turn; 0 fails at once. Default `"0s"`.
    #[schemars(extend("pattern" = span::PATTERN))]
    pub max_wait: Option<String>,
}

/// An entry of `fallback`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FallbackSection {
    /// `{ cache = { ttl = "5min" } }`: the last good answer under the call's key.
    Cache {
        /// How old it may be.
        #[schemars(extend("pattern" = span::PATTERN))]
        ttl: String,
    },
    /// `{ default = { value = … } }`: this value.
    Default {
        /// Any value of the answer's form.
        value: serde_json::Value,
    },
    /// `{ alternative = { service = "…" } }`: another service.
    Alternative {
        /// Its name.
        service: String,
    },
    /// `{ degrade = { features = ["…"] } }`: an answer without these features.
    Degrade {
        /// What is left out.
        features: Vec<String>,
    },
}
