//! What the command line says of the audit log, and what an instance keeps of that.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::args::duration;

/// What is written into the audit log, by the names that kube-apiserver has for it.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditArgs {
    /// What is written into the audit log: a file with a Policy of audit.k8s.io/v1.
    #[arg(long, value_name = "FILE")]
    pub audit_policy_file: Option<PathBuf>,
    /// The audit log: a line of JSON for each event; - for the standard output.
    #[arg(long, value_name = "FILE")]
    pub audit_log_path: Option<PathBuf>,
    /// How many days audit logs are kept that have been rotated out [default: for ever].
    #[arg(long, value_name = "DAYS")]
    pub audit_log_maxage: Option<u32>,
    /// How many audit logs are kept that have been rotated out [default: all].
    #[arg(long, value_name = "N")]
    pub audit_log_maxbackup: Option<u32>,
    /// The size at which the audit log is rotated out, in megabytes [default: 100].
    #[arg(long, value_name = "MB")]
    pub audit_log_maxsize: Option<u32>,
    /// The service that audit events are sent to: a file in the form of a kubeconfig.
    #[arg(long, value_name = "FILE")]
    pub audit_webhook_config_file: Option<PathBuf>,
    /// How long an audit event waits for others to be sent together with [default: 30s].
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub audit_webhook_batch_max_wait: Option<Duration>,
}

/// The files of the audit log, as they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuditFiles {
    /// The policy.
    pub policy: Option<PathBuf>,
    /// The log; `-` is the standard output.
    pub log: Option<PathBuf>,
    /// Days that old logs are kept.
    pub max_age: u32,
    /// Old logs that are kept.
    pub max_backups: u32,
    /// The size at which a log is old, in megabytes; 0 for the default.
    pub max_size: u32,
    /// The kubeconfig of the service that events are sent to.
    pub webhook: Option<PathBuf>,
    /// How long an event waits for others, in milliseconds; none for the default.
    pub max_wait_ms: Option<u64>,
}

impl AuditFiles {
    /// What an instance has by now: what it had before, changed by what is given. The files are found again from any
    /// directory.
    ///
    /// # Errors
    /// When a file's place can't be made out, or nothing says what is to be written.
    pub fn of(before: Option<AuditFiles>, given: &AuditArgs) -> anyhow::Result<Option<AuditFiles>> {
        if *given == AuditArgs::default() {
            return Ok(before);
        }
        let found = |file: &Option<PathBuf>, before: Option<PathBuf>| match file {
            None => Ok(before),
            Some(file) if file.as_os_str() == "-" => Ok(Some(file.clone())),
            Some(file) => std::path::absolute(file)
                .map(Some)
                .with_context(|| format!("finding {}", file.display())),
        };
        let mut audit = before.unwrap_or_default();
        audit.policy = found(&given.audit_policy_file, audit.policy)?;
        audit.log = found(&given.audit_log_path, audit.log)?;
        audit.webhook = found(&given.audit_webhook_config_file, audit.webhook)?;
        audit.max_age = given.audit_log_maxage.unwrap_or(audit.max_age);
        audit.max_backups = given.audit_log_maxbackup.unwrap_or(audit.max_backups);
        audit.max_size = given.audit_log_maxsize.unwrap_or(audit.max_size);
        if let Some(wait) = given.audit_webhook_batch_max_wait {
            audit.max_wait_ms = Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        }
        if audit.policy.is_none() {
            bail!("nothing says what is written into the audit log: give --audit-policy-file, too");
        }
        Ok(Some(audit))
    }
}
