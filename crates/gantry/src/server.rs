//! `gantry server`: store, API, controllers and scheduler in one process.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use cli::args::SettingsArgs;
use cli::audit::AuditFiles;
use cli::authentication::{Authentication, Oidc};
use cli::front_proxy::FrontProxies;
use cli::process::{Role, one_line};
use cli::{Instance, Settings};
use controllers::SigningKey;
use server::{
    AuditPolicy, AuditSettings, AuthenticationSettings, Config, EncryptionSettings, LogSettings, OidcSettings,
    RequestHeaderSettings, RuntimeConfig, Server, TracingSettings, User, WebhookSettings, kubeconfig,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::store::Opened;

/// The size of one node's part of the pod addresses: 254 pods.
const NODE_MASK: u8 = 24;
const AUTHENTICATED: &str = "system:authenticated";

/// Runs it in the foreground until told to end.
pub(crate) async fn run(instance: Instance, given: SettingsArgs) -> anyhow::Result<()> {
    let settings = instance.settings(&given)?;
    instance.take_role(Role::Server)?;
    let cancel = crate::until_told_to_end()?;
    let result = serve(&instance, &settings, cancel).await;
    match &result {
        Ok(()) => instance.clear_role(Role::Server),
        Err(error) => instance.set_failed(Role::Server, &one_line(error)),
    }
    result
}

async fn serve(instance: &Instance, settings: &Settings, cancel: CancellationToken) -> anyhow::Result<()> {
    let dir = instance.dir().join("server");
    std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    instance.store_settings(settings)?;
    let listener = TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("listening on {}", settings.listen))?;
    let store = Opened::open(&dir.join("store"), settings.etcd.as_ref()).await?;
    let config = config(instance, settings)?;
    let server = Server::start(config, store.store()).await.context("the server")?;
    write_credentials(instance, settings, &server)?;
    crate::registry::mount(instance, &settings.node_name, &server)?;
    let serving = tokio::spawn(server.serve(listener));
    let parts = start_parts(instance, settings, &server, &cancel);
    instance.set_ready(Role::Server)?;
    crate::footprint::settle_later();
    tracing::info!(endpoint = settings.local_endpoint(), "ready");
    cancel.cancelled().await;
    server.shutdown();
    let _ = serving.await;
    for part in parts {
        let _ = part.await;
    }
    server.flush_traces().await;
    store.close();
    Ok(())
}

fn config(instance: &Instance, settings: &Settings) -> anyhow::Result<Config> {
    let mut config = Config::new(instance.dir());
    config.listen = settings.listen;
    config.advertise_address = settings.advertise_address;
    config.service_cidr = settings.service_cidr.into();
    config.pod_cidr = Some(settings.pod_cidr.into());
    config.names = vec![settings.node_name.clone(), node::REGISTRY.to_owned()];
    config.shared_store = settings.etcd.is_some();
    if let Some(file) = settings.etcd.as_ref().and_then(|etcd| etcd.secret.as_ref()) {
        let secret = std::fs::read_to_string(file).with_context(|| format!("--store-secret {}", file.display()))?;
        config.keys_secret = Some(secret.trim().into());
    }
    config.admission.enable = settings.enable_admission.clone();
    config.admission.disable = settings.disable_admission.clone();
    let runtime = settings.runtime_config.iter().map(String::as_str);
    config.runtime = RuntimeConfig::parse(runtime).map_err(|why| anyhow::anyhow!("--runtime-config: {why}"))?;
    if let Some(file) = &settings.admission_file {
        config
            .admission
            .load(file)
            .with_context(|| format!("--admission-control-config-file {}", file.display()))?;
    }
    if let Some(files) = &settings.audit {
        config.audit = audit(files)?;
    }
    config.authentication = authentication(&settings.authentication);
    config.encryption = settings.encryption.file.clone().map(|file| EncryptionSettings {
        file,
        reload: settings.encryption.reload,
    });
    config.tracing = settings.tracing.as_deref().map(tracing).transpose()?;
    config.request_header = settings.front_proxies.as_ref().map(front_proxies).transpose()?;
    Ok(config)
}

fn authentication(given: &Authentication) -> Option<AuthenticationSettings> {
    let of_oidc = |oidc: &Oidc| {
        AuthenticationSettings::Oidc(OidcSettings {
            issuer_url: oidc.issuer_url.clone(),
            client_id: oidc.client_id.clone(),
            username_claim: oidc.username_claim.clone(),
            username_prefix: oidc.username_prefix.clone(),
            groups_claim: oidc.groups_claim.clone(),
            groups_prefix: oidc.groups_prefix.clone(),
            required_claims: oidc.required_claims.clone(),
            ca_file: oidc.ca_file.clone(),
            signing_algorithms: oidc.signing_algorithms.clone(),
        })
    };
    match &given.file {
        Some(file) => Some(AuthenticationSettings::File(file.clone())),
        None => given.oidc.as_ref().map(of_oidc),
    }
}

fn front_proxies(given: &FrontProxies) -> anyhow::Result<RequestHeaderSettings> {
    let ca = std::fs::read_to_string(&given.ca)
        .with_context(|| format!("--requestheader-client-ca-file {}", given.ca.display()))?;
    let mut settings = RequestHeaderSettings::new(ca);
    settings.allowed_names.clone_from(&given.allowed_names);
    for (given, setting) in [
        (&given.username_headers, &mut settings.username_headers),
        (&given.uid_headers, &mut settings.uid_headers),
        (&given.group_headers, &mut settings.group_headers),
        (&given.extra_prefixes, &mut settings.extra_prefixes),
    ] {
        if !given.is_empty() {
            setting.clone_from(given);
        }
    }
    Ok(settings)
}

fn audit(files: &AuditFiles) -> anyhow::Result<AuditSettings> {
    let mut audit = AuditSettings::default();
    if let Some(file) = &files.policy {
        let given = || format!("--audit-policy-file {}", file.display());
        let text = std::fs::read_to_string(file).with_context(given)?;
        audit.policy = Some(
            AuditPolicy::parse(&text)
                .map_err(anyhow::Error::msg)
                .with_context(given)?,
        );
    }
    audit.log = files.log.clone().map(|path| LogSettings {
        max_age: files.max_age,
        max_backups: files.max_backups,
        max_size: if files.max_size == 0 { 100 } else { files.max_size },
        ..LogSettings::new(path)
    });
    if let Some(file) = &files.webhook {
        let webhook = WebhookSettings::load(file).map_err(anyhow::Error::msg);
        let mut webhook = webhook.with_context(|| format!("--audit-webhook-config-file {}", file.display()))?;
        webhook.max_wait = files.max_wait_ms.map_or(webhook.max_wait, Duration::from_millis);
        audit.webhook = Some(webhook);
    }
    Ok(audit)
}

fn tracing(file: &Path) -> anyhow::Result<TracingSettings> {
    let given = || format!("--tracing-config-file {}", file.display());
    let text = std::fs::read_to_string(file).with_context(given)?;
    TracingSettings::parse(&text)
        .map_err(anyhow::Error::msg)
        .with_context(given)
}

fn write_credentials(instance: &Instance, settings: &Settings, server: &Server) -> anyhow::Result<()> {
    let url = settings.local_endpoint();
    let admin = server.admin_kubeconfig("gantry", &url)?;
    kubeconfig::write(&instance.admin_kubeconfig(), &admin)?;
    let bootstrap = server.bootstrap_kubeconfig("gantry", &url)?;
    kubeconfig::write(&instance.bootstrap_kubeconfig(), &bootstrap)?;
    Ok(())
}

/// Controllers and scheduler, each under an identity of its own. Of several servers on one etcd, one at a time runs them.
fn start_parts(
    instance: &Instance,
    settings: &Settings,
    server: &Server,
    cancel: &CancellationToken,
) -> Vec<JoinHandle<()>> {
    let ca = server.pki().ca();
    let config = controllers::Config {
        root_ca: ca.pem().to_owned(),
        signing: Some(SigningKey {
            lifetime: Duration::from_secs(settings.certificate_seconds),
            certificate: ca.pem().to_owned(),
            key: ca.key_pem().to_owned(),
        }),
        cluster_cidr: Some(settings.pod_cidr.into()),
        node_mask: NODE_MASK.max(settings.pod_cidr.prefix_len()),
    };
    let scheduler = client::in_process(server.service(User::new("system:kube-scheduler", &[AUTHENTICATED])));
    let own = server.clone();
    let clients = move |name: &str| client::in_process(own.service(user(name)));
    if settings.etcd.is_none() {
        // Nobody else can have this store.
        return vec![
            tokio::spawn(controllers::run(clients, config, cancel.clone())),
            tokio::spawn(scheduler::run(scheduler, cancel.clone())),
        ];
    }
    // The same after a restart, and another one on a copy of this machine.
    let address = SocketAddr::new(settings.advertise_address, settings.listen.port());
    let identity = format!("{}_{address}_{}", settings.node_name, instance.id());
    let (name, cancelled) = (identity.clone(), cancel.clone());
    let controlling = async move {
        let client = clients(controllers::SHARED_IDENTITY);
        let run = |cancel| controllers::run(&clients, config.clone(), cancel);
        client::lead(client, "kube-controller-manager", &name, cancelled, run).await;
    };
    let cancelled = cancel.clone();
    let scheduling = async move {
        let run = |cancel| scheduler::run(scheduler.clone(), cancel);
        client::lead(scheduler.clone(), "kube-scheduler", &identity, cancelled, run).await;
    };
    vec![tokio::spawn(controlling), tokio::spawn(scheduling)]
}

/// Most controllers are service accounts, as Kubernetes' bootstrap policy knows them.
fn user(name: &str) -> User {
    match name
        .strip_prefix("system:serviceaccount:")
        .and_then(|account| account.split_once(':'))
    {
        Some((namespace, name)) => User::service_account(namespace, name),
        None => User::new(name, &[AUTHENTICATED]),
    }
}
