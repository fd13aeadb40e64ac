//! Serves a data directory on loopback and writes a kubeconfig, for trying clients by hand:
//! `cargo run -p server --example serve -- DIR [PORT]`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use server::{Config, Server, kubeconfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt()
        .with_env_filter("info")
        .with_writer(std::io::stderr)
        .init();
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("usage: serve DIR [PORT]")?);
    let port = arguments.next().map_or(Ok(6443), |port| port.parse())?;
    let mut config = Config::new(&dir);
    config.listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let store_dir = dir.join("server").join("store");
    std::fs::create_dir_all(&store_dir)?;
    let store = store::embedded::Embedded::open(&store_dir, store::embedded::Options::default())?;
    let started = std::time::Instant::now();
    let server = Server::start(config, store).await?;
    let listener = tokio::net::TcpListener::bind(server.config().listen).await?;
    let text = server.admin_kubeconfig("gantry", &server.config().local_url())?;
    kubeconfig::write(&dir.join("admin.kubeconfig"), &text)?;
    eprintln!("serving after {:?}", started.elapsed());
    let serving = server.serve(listener);
    tokio::spawn({
        let server = server.clone();
        async move {
            let _ = tokio::signal::ctrl_c().await;
            server.shutdown();
        }
    });
    serving.await;
    Ok(())
}
