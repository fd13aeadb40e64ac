//! What an administrator does on the machine itself, with the distribution's own programs, while Gantry runs there.

use anyhow::ensure;

use super::case::{Case, Stage};
use super::objects::WEB;
use super::tools;

pub(crate) const CASES: &[Case] = &[Case {
    name: "nft lists the rules",
    run: list_rules,
}];

/// nft(8) reads back what a program put into the kernel, and older ones die of what they don't expect.
fn list_rules(stage: &Stage<'_>) -> anyhow::Result<()> {
    tools::program("nft", "nftables")?;
    stage.write("web.yaml", WEB)?;
    stage.sh("kubectl apply -f web.yaml")?;
    stage.sh("kubectl patch service web -p '{\"spec\":{\"sessionAffinity\":\"ClientIP\",\"externalTrafficPolicy\":\"Local\"}}'")?;
    stage.sh("kubectl rollout status deployment/web --timeout=60s")?;
    let address = stage.sh("kubectl get service web -o jsonpath='{.spec.clusterIP}'")?;
    let remembered = format!("{address} . tcp . 80 : jump remember-10800");
    stage.until(&format!("nft list ruleset | grep -o '{remembered}' | wc -l"), "1")?;
    let rules = stage.sh("nft list ruleset")?;
    for expected in [
        "dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 2 map @address-endpoints",
        "ip daddr . meta l4proto . th dport vmap @addresses",
        "update @affinity",
    ] {
        ensure!(rules.contains(expected), "nft doesn't say {expected:?}");
    }
    Ok(())
}
