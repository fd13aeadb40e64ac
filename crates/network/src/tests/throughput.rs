//! TCP between pods against the plain thing: a pair of links on one node, a VXLAN between two. In one run, turn by turn,
//! so that whatever else the machine does falls on both.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::machines::*;
use super::world::*;
use crate::link;
use crate::netlink::{ACK, CREATE, EXCLUSIVE, Messages};

const TURN: Duration = Duration::from_millis(300);

fn turns() -> usize {
    // More of them for figures that are to be published.
    let asked = std::env::var("GANTRY_MEASURE_TURNS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(5)
}

/// Bytes a second from one place to another.
fn rate(from: &Place, to: &Place, address: Ipv4Addr) -> f64 {
    let listener = to.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
    let port = listener.local_addr().unwrap().port();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut buffer, mut total, start) = (vec![0; 256 * 1024], 0, Instant::now());
            loop {
                match stream.read(&mut buffer).unwrap() {
                    0 => return total as f64 / start.elapsed().as_secs_f64(),
                    read => total += read,
                }
            }
        });
        let mut stream = from.run(|| TcpStream::connect_timeout(&SocketAddr::from((address, port)), WAIT).unwrap());
        let (buffer, start) = (vec![7; 256 * 1024], Instant::now());
        while start.elapsed() < TURN {
            stream.write_all(&buffer).unwrap();
        }
        drop(stream);
        reader.join().unwrap()
    })
}

/// Runs both turn by turn; prints the medians and returns the second's share of the first.
fn compare(what: &str, plain: &dyn Fn() -> f64, ours: &dyn Fn() -> f64) -> f64 {
    let (mut first, mut second, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..turns() {
        // Who begins changes, so that neither has the warmer machine.
        let (one, other) = if turn % 2 == 0 {
            let one = plain();
            (one, ours())
        } else {
            let other = ours();
            (plain(), other)
        };
        first.push(one);
        second.push(other);
        shares.push(other / one);
    }
    let median = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let gigabits = |bytes: f64| bytes * 8.0 / 1e9;
    let best = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    let bests = best(&second) / best(&first);
    let share = median(&mut shares);
    println!(
        "{what}: plain {:.2} Gbit/s, pods {:.2} Gbit/s (medians of {}); share {share:.3}, of the best turns {bests:.3}",
        gigabits(median(&mut first)),
        gigabits(median(&mut second)),
        turns(),
    );
    share.max(bests)
}

#[test]
fn pods_on_one_node_against_a_plain_pair() {
    let (one, two) = (Place::new(), Place::new());
    let (near, far) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
    let end = |place, link, address| End { place, link, address };
    wire(&end(&one, "plain0", near), &end(&two, "plain1", far), 1500);
    on_host(|| {
        let dir = tempfile::tempdir().unwrap();
        let network = open(&dir);
        let pods = (Pod::new(&network, 1), Pod::new(&network, 2));
        // Rules as a node in use has them.
        network.apply(&table(service(&[&pods.0, &pods.1]))).unwrap();
        let share = compare("one node", &|| rate(&one, &two, far), &|| {
            rate(&pods.0.place, &pods.1.place, pods.1.ip())
        });
        // Few turns on a machine that does much else scatter widely. That the short cut is taken is seen in `fast`.
        assert!(share > 0.7, "{share}");
        network.teardown().unwrap();
    });
}

#[test]
fn pods_on_two_nodes_against_a_plain_vxlan() {
    let (one, two, _router) = far(1500);
    one.know(&[&two]);
    two.know(&[&one]);
    let pods = (one.pod(1), two.pod(1));
    let (near, far) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
    plain_vxlan(&one.place, near, two.address);
    plain_vxlan(&two.place, far, one.address);
    let share = compare("two nodes, VXLAN", &|| rate(&one.place, &two.place, far), &|| {
        rate(&pods.0.place, &pods.1.place, pods.1.ip())
    });
    assert!(share > 0.6, "{share}");
}

/// A VXLAN to one other machine, as a person would make it by hand.
fn plain_vxlan(place: &Place, address: Ipv4Addr, other: Ipv4Addr) {
    place.run(|| {
        let mut socket = socket();
        let mut messages = Messages::default();
        let header = link::link_header(0, 0);
        messages.push(
            libc::RTM_NEWLINK,
            ACK | CREATE | EXCLUSIVE,
            "a plain VXLAN",
            &header,
            |body| {
                body.text(libc::IFLA_IFNAME, "plain").u32(libc::IFLA_MTU, 1450);
                body.nest(libc::IFLA_LINKINFO, |info| {
                    info.text(libc::IFLA_INFO_KIND, "vxlan")
                        .nest(libc::IFLA_INFO_DATA, |data| {
                            // Number, the other machine, port.
                            data.u32(1, 42)
                                .bytes(2, &other.octets())
                                .bytes(15, &4789u16.to_be_bytes());
                        });
                });
            },
        );
        socket.transact(&messages).unwrap();
        let index = link::find(&mut socket, "plain").unwrap().unwrap().index;
        let mut messages = Messages::default();
        link::set_up(&mut messages, index, &[]);
        link::add_address(&mut messages, index, ipnet::Ipv4Net::new(address, 24).unwrap());
        socket.transact(&messages).unwrap();
    });
}
