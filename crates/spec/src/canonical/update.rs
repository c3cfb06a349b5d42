//! `service.update` in canonical form: what differs from the default.

use serde_json::{Value as Json, json};

use super::Object;
use crate::decode::json_number;
use crate::update::{
    Amount, Analysis, Canary, CanaryMatch, CanaryStep, StepEnd, Surge, Update, Verify,
};

impl Update {
    pub(super) fn canonical(&self) -> Json {
        let default = Self::default();
        let mut object = Object::new();
        object.put_some("mode", self.mode.map(crate::UpdateMode::as_str));
        if self.max_surge != default.max_surge {
            object.put("max_surge", surge(self.max_surge));
        }
        if self.max_unavailable != default.max_unavailable {
            object.put("max_unavailable", amount(self.max_unavailable));
        }
        object.put_number(
            "min_healthy_seconds",
            self.min_healthy_seconds,
            default.min_healthy_seconds,
        );
        object.put_some(
            "progress_deadline_seconds",
            self.progress_deadline_seconds.map(json_number),
        );
        object.put_number(
            "drain_timeout_seconds",
            self.drain_timeout_seconds,
            default.drain_timeout_seconds,
        );
        if self.auto_rollback != default.auto_rollback {
            object.put("auto_rollback", self.auto_rollback);
        }
        object.put_number(
            "undo_window_seconds",
            self.undo_window_seconds,
            default.undo_window_seconds,
        );
        object.put_some("canary", self.canary.as_ref().map(Canary::canonical));
        object.put_some("verify", self.verify.as_ref().map(Verify::canonical));
        Json::Object(object.0)
    }
}

fn amount(amount: Amount) -> Json {
    match amount {
        Amount::Count(count) => json!(count),
        Amount::Percent(percent) => json!(format!("{percent}%")),
    }
}

fn surge(surge: Surge) -> Json {
    match surge {
        Surge::Auto => json!("auto"),
        Surge::Amount(of) => amount(of),
    }
}

impl Canary {
    fn canonical(&self) -> Json {
        let mut object = Object::new();
        object.put("steps", self.steps.iter().map(step).collect::<Vec<Json>>());
        object.put_some("header", self.header.as_ref().map(matches));
        object.put_some("cookie", self.cookie.as_ref().map(matches));
        object.put_some("analysis", self.analysis.as_ref().map(Analysis::canonical));
        Json::Object(object.0)
    }
}

fn step(step: &CanaryStep) -> Json {
    let weight = json_number(step.weight_percent);
    match step.until {
        StepEnd::Seconds(seconds) => {
            json!({ "weight": weight, "pause_seconds": json_number(seconds) })
        }
        StepEnd::Promoted => json!({ "weight": weight, "until": "promoted" }),
    }
}

fn matches(wanted: &CanaryMatch) -> Json {
    json!({ "name": wanted.name, "value": wanted.value })
}

impl Analysis {
    fn canonical(&self) -> Json {
        let mut object = Object::new();
        object.put("max_error_increase", json_number(self.max_error_increase));
        object.put_some("max_latency_ratio", self.max_latency_ratio.map(json_number));
        object.put_some("max_ttfb_ratio", self.max_ttfb_ratio.map(json_number));
        object.put("min_requests", self.min_requests);
        object.put("confidence", json_number(self.confidence));
        Json::Object(object.0)
    }
}

impl Verify {
    fn canonical(&self) -> Json {
        json!({ "run": self.run, "timeout_seconds": json_number(self.timeout_seconds) })
    }
}
