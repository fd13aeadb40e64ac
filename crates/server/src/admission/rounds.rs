//! Who is asked again: when a later plug-in has changed an object, the whole chain runs a second time, and of webhooks
//! and policies those that want to see changes made after them.

use std::collections::HashSet;

use serde_json::Value;

/// The state of one request's way through the mutating chain.
#[derive(Default)]
pub(crate) struct Rounds {
    /// Whether this is the second round.
    pub(crate) second: bool,
    /// Whether somebody has changed something, so that there must be one.
    pub(crate) wanted: bool,
    pub(crate) webhooks: Invoked,
    pub(crate) policies: Invoked,
}

/// Those of one plug-in that were asked and want to be asked again.
#[derive(Default)]
pub(crate) struct Invoked {
    before: HashSet<String>,
    again: HashSet<String>,
    left: Option<Value>,
}

impl Invoked {
    /// The plug-in begins: what others have changed since it ended is a reason to ask again.
    pub(crate) fn begin(&mut self, second: bool, object: Option<&Value>) {
        if second && self.left.as_ref() != object {
            self.require();
        }
    }

    /// Something was changed: whoever was asked before is asked again.
    pub(crate) fn require(&mut self) {
        self.again.extend(self.before.drain());
    }

    /// Notes one that wants to be asked again.
    pub(crate) fn note(&mut self, id: &str) {
        self.before.insert(id.to_owned());
    }

    /// Whether one is to be asked in the second round.
    pub(crate) fn wants(&self, id: &str) -> bool {
        self.again.contains(id)
    }

    /// The plug-in ends and leaves the object so. Nobody to be asked again needs no comparison.
    pub(crate) fn end(&mut self, object: Option<&Value>) {
        self.left = object.filter(|_| !self.before.is_empty()).cloned();
    }
}
