//! What the checks of a database would read.

use std::cmp::Reverse;
use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;
use verify_core::cost::Cost;
use verify_core::not_covered::Check;

use verify_drill::quantity::{bytes, counted};

/// Maximum number of objects of a check that the text names.
const NAMED_MAX: usize = 5;

/// What the checks would read, each of an object.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Explanation {
    /// Bytes on disk that all of them read.
    bytes: u64,
    /// The checks, in the order in which they run, and of each the largest objects first.
    checks: Vec<CheckCost>,
}

/// What one check would read.
#[derive(Debug, Serialize, JsonSchema)]
struct CheckCost {
    check: Check,
    bytes: u64,
    objects: Vec<ObjectCost>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ObjectCost {
    object: String,
    bytes: u64,
}

impl Explanation {
    pub(crate) fn new(costs: Vec<Cost>) -> Self {
        let mut checks: Vec<CheckCost> = Vec::new();
        for Cost { check, object, bytes } in costs {
            let place = checks.iter().position(|known| known.check == check).unwrap_or_else(|| {
                checks.push(CheckCost { check, bytes: 0, objects: Vec::new() });
                checks.len() - 1
            });
            checks[place].bytes += bytes;
            checks[place].objects.push(ObjectCost { object, bytes });
        }
        for check in &mut checks {
            check.objects.sort_by(|a, b| (Reverse(a.bytes), &a.object).cmp(&(Reverse(b.bytes), &b.object)));
        }
        Self { bytes: checks.iter().map(|check| check.bytes).sum(), checks }
    }

    /// Plain text, with the largest objects.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for check in &self.checks {
            let name = check.check.name().unwrap_or_default();
            let _ = writeln!(
                text,
                "{name}: {} in {}",
                bytes(check.bytes),
                counted(check.objects.len() as u64, "object")
            );
            for object in check.objects.iter().take(NAMED_MAX) {
                let _ = writeln!(text, "    {:>10}  {}", bytes(object.bytes), object.object);
            }
            if check.objects.len() > NAMED_MAX {
                let _ = writeln!(text, "    and {} more", check.objects.len() - NAMED_MAX);
            }
        }
        let _ = writeln!(text, "total: {}", bytes(self.bytes));
        text
    }
}
