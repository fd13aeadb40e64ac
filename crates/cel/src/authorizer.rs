//! What expressions ask through `authorizer`, and who answers: the server's.

use std::fmt;
use std::sync::Arc;

use crate::types::Type;
use crate::value::{Opaque, Value};

pub(crate) const ASKER: &str = "kubernetes.authorization.Authorizer";
pub(crate) const PATH_CHECK: &str = "kubernetes.authorization.PathCheck";
pub(crate) const GROUP_CHECK: &str = "kubernetes.authorization.GroupCheck";
pub(crate) const RESOURCE_CHECK: &str = "kubernetes.authorization.ResourceCheck";
pub(crate) const DECISION: &str = "kubernetes.authorization.Decision";

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Namespace and name of the service account that it is about; none for the user who makes the request.
    pub account: Option<(String, String)>,
    /// The verb.
    pub verb: String,
    /// The path, when it is about no resource.
    pub path: Option<String>,
    /// The group.
    pub group: String,
    /// The resource's plural.
    pub resource: String,
    /// The subresource.
    pub subresource: String,
    /// The namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// A field selector.
    pub fields: String,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why.
    pub reason: String,
}

/// Who answers.
pub trait Authorizer: Send + Sync {
    /// Answers a question.
    fn decide(&self, asked: &Asked) -> Verdict;
}

/// A question on its way.
#[derive(Clone)]
pub struct Question {
    pub(crate) by: Arc<dyn Authorizer>,
    pub(crate) asked: Asked,
    /// Which functions it has, as the name of its type says.
    pub(crate) stage: &'static str,
}

impl Question {
    /// The type of `authorizer`.
    pub const TYPE: Type = Type::Opaque(ASKER);
    /// The type of `authorizer.requestResource`.
    pub const RESOURCE_TYPE: Type = Type::Opaque(RESOURCE_CHECK);

    /// `authorizer`.
    #[must_use]
    pub fn open(by: &Arc<dyn Authorizer>) -> Value {
        Value::opaque(Question {
            by: Arc::clone(by),
            asked: Asked::default(),
            stage: ASKER,
        })
    }

    /// `authorizer.requestResource`: about what a request is about.
    #[must_use]
    pub fn about(by: &Arc<dyn Authorizer>, asked: Asked) -> Value {
        Value::opaque(Question {
            by: Arc::clone(by),
            asked,
            stage: RESOURCE_CHECK,
        })
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.asked.fmt(f)
    }
}

impl Opaque for Question {
    fn type_name(&self) -> &'static str {
        self.stage
    }

    fn equals(&self, other: &dyn Opaque) -> bool {
        other
            .downcast::<Question>()
            .is_some_and(|other| other.asked == self.asked)
    }
}

impl Opaque for Verdict {
    fn type_name(&self) -> &'static str {
        DECISION
    }

    fn equals(&self, other: &dyn Opaque) -> bool {
        other.downcast::<Verdict>() == Some(self)
    }
}
