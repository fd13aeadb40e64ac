//! A node only calls out: what people ask of it works behind a firewall that lets nothing in.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams, LogParams};
use tokio::io::AsyncReadExt as _;

use crate::stage::{add_images, machines, printer, run_pod, until, with_client, within};

#[test]
fn logs_and_exec_reach_a_node_that_nobody_can_call() {
    let pool = machines(2);
    pool.start_server(&[]).unwrap();
    // Closed from the beginning, joining included.
    pool.world().machine(1).link().close();
    add_images(&pool, 1);
    pool.join(1, &[]).unwrap();
    // The firewall is real: nothing answers there, not even a ping or a refusal.
    let address = std::net::SocketAddr::from((pool.world().machine(1).address(), 10250));
    let call = || std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_secs(1));
    let called = pool.world().machine(0).namespace().run(call).unwrap();
    assert_eq!(called.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    assert!(pool.world().machine(1).link().refused() > 0);
    with_client(&pool, |client| async move {
        run_pod(&client, printer("printer", "m1")).await;
        let api: Api<Pod> = Api::default_namespaced(client);
        until("lines in the log", async || {
            let log = api.logs("printer", &LogParams::default()).await;
            let log = log.map_err(|error| error.to_string())?;
            if log.lines().count() > 2 {
                Ok(())
            } else {
                Err(format!("so far {log:?}"))
            }
        })
        .await;
        let streams = AttachParams::default().stderr(false);
        let asked = api.exec("printer", ["/bin/report", "print", "inside"], &streams);
        let mut process = within("exec", asked).await.unwrap();
        let mut text = String::new();
        let mut stdout = process.stdout().unwrap();
        within("the answer", stdout.read_to_string(&mut text)).await.unwrap();
        assert!(text.contains("inside"), "{text:?}");
    });
}
