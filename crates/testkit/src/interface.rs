//! Interfaces of the namespace that the calling thread is in: taps, addresses, routes, by the old ioctls (netdevice(7)),
//! which are all that a test machine needs.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use ipnet::Ipv4Net;

/// Makes a tap whose other end is the file: what the kernel sends is read from it, and the other way round. It goes
/// with the file.
pub(crate) fn tap(name: &str) -> io::Result<File> {
    let file = File::options().read(true).write(true).open("/dev/net/tun")?;
    let mut request = request(name);
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as i16;
    // SAFETY: the request is a whole ifreq that outlives the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as libc::Ioctl, &raw mut request) })?;
    rustix::io::ioctl_fionbio(&file, true)?;
    Ok(file)
}

/// Sets it up.
pub(crate) fn set_up(name: &str) -> io::Result<()> {
    let socket = socket()?;
    let mut request = request(name);
    control(&socket, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: the call before has filled in this field of the union.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as i16;
    control(&socket, libc::SIOCSIFFLAGS, &mut request)
}

/// Gives it an address in its network.
pub(crate) fn set_address(name: &str, address: Ipv4Addr, network: Ipv4Net) -> io::Result<()> {
    let socket = socket()?;
    let mut request = request(name);
    request.ifr_ifru.ifru_addr = generic(address);
    control(&socket, libc::SIOCSIFADDR, &mut request)?;
    request.ifr_ifru.ifru_netmask = generic(network.netmask());
    control(&socket, libc::SIOCSIFNETMASK, &mut request)
}

/// Sends everything that has no other way to a gateway.
pub(crate) fn set_gateway(gateway: Ipv4Addr) -> io::Result<()> {
    let socket = socket()?;
    // SAFETY: all zeroes is a valid value of this plain C structure.
    let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
    route.rt_dst = generic(Ipv4Addr::UNSPECIFIED);
    route.rt_genmask = generic(Ipv4Addr::UNSPECIFIED);
    route.rt_gateway = generic(gateway);
    route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
    // SAFETY: the route is a whole rtentry that outlives the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCADDRT as libc::Ioctl, &raw const route) })
}

fn socket() -> io::Result<OwnedFd> {
    // SAFETY: a plain system call; the result is checked before use.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    check(fd)?;
    // SAFETY: `fd` is a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn request(name: &str) -> libc::ifreq {
    // SAFETY: all zeroes is a valid value of this plain C structure.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name.iter_mut().take(room).zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request
}

fn control(socket: &OwnedFd, what: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: the request is a whole ifreq that outlives the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), what as libc::Ioctl, std::ptr::from_mut(request)) })
}

/// A `sockaddr_in` in the shape of the general structure: family, port, address.
fn generic(address: Ipv4Addr) -> libc::sockaddr {
    let mut data = [0 as libc::c_char; 14];
    for (to, from) in data[2..6].iter_mut().zip(address.octets()) {
        *to = from as libc::c_char;
    }
    libc::sockaddr {
        sa_family: libc::AF_INET as libc::sa_family_t,
        sa_data: data,
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
