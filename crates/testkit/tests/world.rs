//! The test kit's links do what they say, seen by ordinary sockets on the machines.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use testkit::world::{Conditions, Machine, Shape, World};

const PORT: u16 = 7000;

/// Answers each connection with one byte, until the world ends.
fn serve(machine: &Machine) {
    let at = SocketAddr::from((machine.address(), PORT));
    let bound = machine.namespace().run(|| TcpListener::bind(at));
    let listener = bound.expect("the namespace is there").expect("the port is free");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.write_all(b"!");
        }
    });
}

fn call(from: &Machine, to: Ipv4Addr) -> io::Result<()> {
    let called = from.namespace().run(|| {
        let patience = Duration::from_secs(2);
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from((to, PORT)), patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.read_exact(&mut [0])
    });
    called.expect("the namespace is there")
}

#[test]
fn a_cut_link_carries_nothing_and_a_mended_one_does_again() {
    for shape in [Shape::Together, Shape::Apart] {
        let world = World::new(3, shape, 1).unwrap();
        let (one, other, third) = (world.machine(0), world.machine(1), world.machine(2));
        serve(other);
        serve(third);
        call(one, other.address()).unwrap();
        other.link().cut();
        call(one, other.address()).unwrap_err();
        call(one, third.address()).unwrap();
        other.link().mend();
        call(one, other.address()).unwrap();
    }
}

#[test]
fn a_delay_is_felt_in_both_directions() {
    let world = World::new(2, Shape::Together, 1).unwrap();
    serve(world.machine(1));
    let delay = Duration::from_millis(60);
    world.machine(1).link().set(Conditions {
        delay,
        ..Conditions::default()
    });
    let began = Instant::now();
    call(world.machine(0), world.machine(1).address()).unwrap();
    // Address resolution, handshake and data: three ways there and back at least.
    assert!(began.elapsed() >= delay * 4, "{:?}", began.elapsed());
}

#[test]
fn a_lossy_link_loses_its_share() {
    let world = World::new(2, Shape::Together, 42).unwrap();
    let (one, other) = (world.machine(0), world.machine(1));
    let to = SocketAddr::from((other.address(), PORT));
    let sink = other.namespace().run(|| UdpSocket::bind(to)).unwrap().unwrap();
    sink.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let sender = one.namespace().run(|| UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
    sender.send_to(b"who has", to).unwrap();
    sink.recv(&mut [0; 16]).unwrap();
    other.link().set(Conditions {
        loss: 0.3,
        ..Conditions::default()
    });
    let mut arrived = 0;
    for _ in 0..40 {
        for _ in 0..10 {
            sender.send_to(b"datagram", to).unwrap();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    while sink.recv(&mut [0; 16]).is_ok() {
        arrived += 1;
    }
    assert!((200..=340).contains(&arrived), "{arrived} of 400");
}

#[test]
fn nobody_calls_a_closed_machine_but_it_calls_others() {
    let world = World::new(2, Shape::Together, 1).unwrap();
    let (one, other) = (world.machine(0), world.machine(1));
    serve(one);
    serve(other);
    call(one, other.address()).unwrap();
    other.link().close();
    call(one, other.address()).unwrap_err();
    assert!(other.link().refused() > 0);
    call(other, one.address()).unwrap();
}

#[test]
fn asynchronous_work_runs_on_the_machine() {
    let world = World::new(2, Shape::Apart, 1).unwrap();
    serve(world.machine(0));
    let to = SocketAddr::from((world.machine(0).address(), PORT));
    let own = world.machine(1).address();
    let work = move || async move { tokio::net::TcpStream::connect(to).await?.local_addr() };
    let local = world.machine(1).namespace().block_on(work).unwrap().unwrap();
    assert_eq!(local.ip(), own);
}
