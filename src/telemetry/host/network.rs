//! The way of a packet from the card to the socket: interrupts gathered, packets steered to other CPUs, buffers, polling.

use super::cpus::{Cpus, to_list, to_mask};
use super::tree::{Tree, Unreadable};
use super::{Check, Coalescing, Finding, Fix, Host};

/// Source: `busy_read` in the kernel's `admin-guide/sysctl/net`; `networking/napi`, section on busy polling.
const BUSY_POLL: Check = Check {
    name: "busy_poll",
    cost: "a packet waits for the card's interrupt and its softirq, 3 to 10 µs, instead of being fetched by the read",
};

/// Source: tcp(7), `tcp_rmem`: autotuning ends at the third number; socket(7), `SO_RCVBUF`.
const SOCKET_BUFFERS: Check = Check {
    name: "socket_buffers",
    cost: "a burst beyond the receive window makes the venue wait: a round trip, 1 to 200 ms",
};

/// Source: ethtool(8), `--coalesce`.
const COALESCING: Check = Check {
    name: "coalescing",
    cost: "the card holds packets back to gather them under one interrupt: as long as it says, 10 to 200 µs",
};

/// Source: `gro_flush_timeout` in the kernel's `networking/napi`.
const DEFERRAL: Check =
    Check { name: "deferral", cost: "the kernel holds packets back to gather them: up to the time it says" };

/// Source: the kernel's `networking/scaling`.
const STEERING: Check = Check {
    name: "steering",
    cost: "packets of all sockets are worked on by the hot core, or sent on by it: 1 to 10 µs each",
};

/// The receive window that autotuning should be able to reach: a depth snapshot of every symbol at once, bytes.
const WINDOW_BYTES_MIN: u64 = 4 << 20;

/// What a poll may last, µs: the value that the kernel's documentation recommends.
const BUSY_POLL_US: u32 = 50;

pub(super) fn check(host: &Host<'_>) -> Vec<Finding> {
    vec![
        BUSY_POLL.answer(|| busy_poll(host)),
        SOCKET_BUFFERS.answer(|| socket_buffers(host)),
        COALESCING.answer(|| coalescing(host)),
        DEFERRAL.answer(|| deferral(host)),
        STEERING.answer(|| steering(host)),
    ]
}

/// The interface that packets to the world go out by: that of the default route with the lowest metric, IPv4 first.
///
/// Source: proc(5), `/proc/net/route`; the kernel's `net/ipv6/route.c` for `/proc/net/ipv6_route`.
pub(super) fn interface(tree: &Tree) -> Result<String, Unreadable> {
    let path = "/proc/net/route";
    let mut best: Option<(u32, String)> = None;
    for line in tree.text(path)?.lines().skip(1) {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let &[name, destination, _, flags, _, _, metric, mask, ..] = fields.as_slice() else { continue };
        let is_up = u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & 1 == 1);
        if is_up && destination == "00000000" && mask == "00000000" {
            let metric = metric.parse().map_err(|_| Unreadable::form(path, line, "a route"))?;
            take_lower(&mut best, metric, name);
        }
    }
    if best.is_none() {
        for line in tree.within("/proc/net", tree.text("/proc/net/ipv6_route"))?.unwrap_or_default().lines() {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let &[_, prefix, _, _, _, metric, _, _, flags, name] = fields.as_slice() else { continue };
            let (Ok(metric), Ok(flags)) = (u32::from_str_radix(metric, 16), u32::from_str_radix(flags, 16)) else {
                continue;
            };
            // RTF_UP, and not RTF_REJECT: the loopback refuses the world.
            if prefix == "00" && flags & 1 == 1 && flags & 0x200 == 0 {
                take_lower(&mut best, metric, name);
            }
        }
    }
    match best {
        // The kernel takes almost any name; one that is more than a name goes into no path and no command.
        Some((_, name))
            if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.@-".contains(&byte)) && name != ".." =>
        {
            Ok(name)
        }
        Some((_, name)) => Err(Unreadable::form(path, &name, "a plain name of an interface")),
        None => Err(Unreadable::Other("no route leads out of this machine".to_owned())),
    }
}

fn take_lower(best: &mut Option<(u32, String)>, metric: u32, name: &str) {
    if best.as_ref().is_none_or(|&(lowest, _)| metric < lowest) {
        *best = Some((metric, name.to_owned()));
    }
}

fn busy_poll(host: &Host<'_>) -> Result<Finding, Unreadable> {
    let paths = ["/proc/sys/net/core/busy_read", "/proc/sys/net/core/busy_poll"];
    let (read, poll): (u32, u32) = (host.tree.number(paths[0])?, host.tree.number(paths[1])?);
    let fact = format!("net.core.busy_read {read} µs, net.core.busy_poll {poll} µs");
    if read > 0 && poll > 0 {
        return Ok(BUSY_POLL.ok(fact));
    }
    let off = paths.into_iter().zip([read, poll]).filter(|&(_, value)| value == 0);
    let fixes = off.map(|(path, was)| Fix::write(path, BUSY_POLL_US.to_string(), was.to_string()));
    Ok(BUSY_POLL.note(format!("{fact}; it helps only where the card's driver can be polled")).with_all(fixes))
}

fn socket_buffers(host: &Host<'_>) -> Result<Finding, Unreadable> {
    let (path, limit_path) = ("/proc/sys/net/ipv4/tcp_rmem", "/proc/sys/net/core/rmem_max");
    let text = host.tree.text(path)?;
    let numbers: Result<Vec<u64>, _> = text.split_ascii_whitespace().map(str::parse).collect();
    let Ok([least, start, most]) = numbers.as_deref() else {
        return Err(Unreadable::form(path, &text, "three numbers"));
    };
    let limit: u64 = host.tree.number(limit_path)?;
    let mut fact = format!("tcp_rmem up to {most} bytes, rmem_max {limit}");
    let mut fixes = Vec::new();
    if *most < WINDOW_BYTES_MIN {
        let value = format!("{least} {start} {WINDOW_BYTES_MIN}");
        fixes.push(Fix::write(path, value, format!("{least} {start} {most}")));
    }
    let wanted = host.question.receive_buffer_bytes.map(|bytes| bytes as u64).filter(|&bytes| bytes > limit);
    if let Some(wanted) = wanted {
        fact.push_str(&format!(", while a connection asks for {wanted} and will get less"));
        fixes.push(Fix::write(limit_path, wanted.to_string(), limit.to_string()));
    }
    Ok(match (wanted, fixes.is_empty()) {
        (Some(_), _) => SOCKET_BUFFERS.bad(fact).with_all(fixes),
        (None, false) => SOCKET_BUFFERS.note(fact).with_all(fixes),
        (None, true) => SOCKET_BUFFERS.ok(fact),
    })
}

fn coalescing(host: &Host<'_>) -> Result<Finding, Unreadable> {
    let interface = interface(&host.tree)?;
    let asked = (host.live.coalescing)(&interface);
    let Coalescing { receive_us, is_adaptive } =
        asked.map_err(|why| Unreadable::Other(format!("{interface}: {why}")))?;
    let adaptive = if is_adaptive { "adapts" } else { "fixed" };
    let fact = format!("{interface} waits {receive_us} µs before it tells of a packet, {adaptive}");
    Ok(if receive_us == 0 && !is_adaptive {
        COALESCING.ok(fact)
    } else {
        COALESCING.note(fact).with(Fix::hand(format!("ethtool -C {interface} adaptive-rx off rx-usecs 0")))
    })
}

fn deferral(host: &Host<'_>) -> Result<Finding, Unreadable> {
    let interface = interface(&host.tree)?;
    let path = format!("/sys/class/net/{interface}/gro_flush_timeout");
    let ns: u64 = host.tree.number(&path)?;
    Ok(match ns {
        0 => DEFERRAL.ok(format!("{interface}: packets are handed on as they come")),
        _ => DEFERRAL.note(format!("{interface}: gathered for up to {ns} ns (gro_flush_timeout)")).with(Fix::write(
            &path,
            "0",
            ns.to_string(),
        )),
    })
}

fn steering(host: &Host<'_>) -> Result<Finding, Unreadable> {
    let interface = interface(&host.tree)?;
    let folder = format!("/sys/class/net/{interface}/queues");
    let hot_in = |cpus: &Cpus| -> Cpus { cpus.intersection(&host.hot).copied().collect() };
    let (mut here, mut fixes) = (Cpus::new(), Vec::new());
    for (_, queue) in host.tree.numbered(&folder, "rx-")? {
        let path = format!("{folder}/{queue}/rps_cpus");
        let Some(cpus) = host.tree.within(&folder, host.tree.cpu_mask(&path))? else { continue };
        let hot = hot_in(&cpus);
        if !hot.is_empty() {
            let rest = cpus.difference(&host.hot).copied().collect();
            fixes.push(Fix::write(&path, to_mask(&rest), to_mask(&cpus)));
            here.extend(hot);
        }
    }
    let mut sends_by = Vec::new();
    for (_, queue) in host.tree.numbered(&folder, "tx-")? {
        // A card with one queue to send by has a file for it that cannot be read.
        let cpus = host.tree.cpu_mask(&format!("{folder}/{queue}/xps_cpus"));
        if host.tree.within(&folder, cpus)?.is_some_and(|cpus| !hot_in(&cpus).is_empty()) {
            sends_by.push(queue);
        }
    }
    let sends = match sends_by.as_slice() {
        [] => String::new(),
        queues => format!("; what they send goes by {} (xps_cpus)", queues.join(", ")),
    };
    Ok(if here.is_empty() {
        STEERING.ok(format!("{interface}: no received packet is sent on to a hot core (rps_cpus){sends}"))
    } else {
        let here = to_list(&here);
        let fact = format!("{interface}: received packets are sent on to CPU {here} (rps_cpus){sends}");
        if host.any_spins() { STEERING.bad(fact).with_all(fixes) } else { STEERING.note(fact).with_all(fixes) }
    })
}
