//! What the kernel says by other ways than files: the clock's state, the card's interrupt settings, a limit on sleep.

use crate::venue::Cpu;
use std::io::{self, Read as _};

/// How well the wall clock is kept. Source: adjtimex(2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClockState {
    /// Somebody told the kernel that the clock is kept in time.
    pub is_synchronised: bool,
    /// Its error as who keeps it estimates it, µs.
    pub error_us: i64,
    /// The error it is sure to be below, µs.
    pub error_us_max: i64,
}

/// When a card tells of received packets. Source: ethtool(8), `--show-coalesce`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Coalescing {
    /// It waits this long for more, µs.
    pub receive_us: u32,
    /// It changes that by itself.
    pub is_adaptive: bool,
}

/// The kernel's answers.
#[derive(Clone, Debug)]
pub struct Live {
    /// The wall clock's state, or why it is not known.
    pub clock: Result<ClockState, String>,
    /// A card's interrupt settings, or why they are not known.
    pub coalescing: fn(&str) -> Result<Coalescing, String>,
    /// The longest wake-up that somebody has asked the kernel to keep to, µs; `None` where nobody did, or it is not known.
    pub wakeup_us_max: Option<u64>,
    /// The instructions that the decoders use.
    pub decoders: Option<Cpu>,
}

impl Live {
    /// Asks this machine.
    #[must_use]
    pub fn here() -> Self {
        Self { clock: clock(), coalescing, wakeup_us_max: wakeup_us_max(), decoders: Some(Cpu::best()) }
    }

    /// Of a machine that is not this one, whose files are looked at.
    #[must_use]
    pub fn elsewhere() -> Self {
        const WHY: &str = "only the machine itself can say";
        Self { clock: Err(WHY.to_owned()), coalescing: |_| Err(WHY.to_owned()), wakeup_us_max: None, decoders: None }
    }
}

fn clock() -> Result<ClockState, String> {
    // SAFETY: a timex is made of integers: all zero is a value, and asks for nothing to be changed.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: `state` is a valid timex for the whole call; with `modes` 0 the kernel only fills it.
    let result = unsafe { libc::adjtimex(&raw mut state) };
    if result < 0 {
        return Err(io::Error::last_os_error().to_string());
    }
    Ok(ClockState {
        is_synchronised: state.status & libc::STA_UNSYNC == 0,
        error_us: state.esterror,
        error_us_max: state.maxerror,
    })
}

/// What the kernel takes all requests together for: one number of 32 bits in the device.
///
/// Source: the kernel's `power/pm_qos_interface`. To open it is to ask for the default, which changes nothing.
fn wakeup_us_max() -> Option<u64> {
    let mut bytes = [0; 4];
    std::fs::File::open("/dev/cpu_dma_latency").ok()?.read_exact(&mut bytes).ok()?;
    u64::try_from(i32::from_ne_bytes(bytes)).ok()
}

/// `ETHTOOL_GCOALESCE` of `linux/ethtool.h`.
const GET_COALESCING: u32 = 0x0e;

/// `struct ethtool_coalesce`: 23 words, of which the second is the time on receipt, and the eleventh whether it adapts.
#[repr(C)]
struct CoalesceRequest {
    command: u32,
    receive_us: u32,
    /// Frames, their twins in an interrupt, the same four to send, the statistics' interval.
    others: [u32; 8],
    is_adaptive: u32,
    rest: [u32; 12],
}

const _: () = assert!(size_of::<CoalesceRequest>() == 23 * 4, "as the kernel lays it out");

fn coalescing(interface: &str) -> Result<Coalescing, String> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).map_err(|e| e.to_string())?;
    let mut request =
        CoalesceRequest { command: GET_COALESCING, receive_us: 0, others: [0; 8], is_adaptive: 0, rest: [0; 12] };
    // SAFETY: an ifreq is made of integers and pointers: all zero is a value.
    let mut named: libc::ifreq = unsafe { std::mem::zeroed() };
    if interface.len() >= named.ifr_name.len() {
        return Err("a name that no interface can have".to_owned());
    }
    for (to, from) in named.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from.cast_signed();
    }
    named.ifr_ifru.ifru_data = (&raw mut request).cast();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
    // SAFETY: `named` ends its name with a zero and points to a request of the size that its command asks for; both live
    // until the call has returned.
    let result = unsafe { libc::ioctl(fd, libc::SIOCETHTOOL as _, &raw mut named) };
    if result < 0 {
        let error = io::Error::last_os_error();
        return Err(match error.raw_os_error() {
            Some(libc::EOPNOTSUPP) => "its driver does not say when it tells of packets".to_owned(),
            _ => format!("SIOCETHTOOL: {error}"),
        });
    }
    Ok(Coalescing { receive_us: request.receive_us, is_adaptive: request.is_adaptive != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_answers_and_an_interface_that_is_none_is_an_error_in_words() {
        let live = Live::here();
        let clock = live.clock.expect("adjtimex with nothing to change needs no right");
        assert!(clock.error_us_max >= 0 && clock.error_us >= 0, "{clock:?}");
        assert_eq!(live.decoders, Some(Cpu::best()));
        assert!((live.coalescing)("nosuchcard0").unwrap_err().contains("SIOCETHTOOL"));
        assert!((live.coalescing)(&"x".repeat(16)).unwrap_err().contains("no interface"));
    }

    #[test]
    fn of_another_machine_nothing_is_said() {
        let live = Live::elsewhere();
        assert!(live.clock.is_err() && (live.coalescing)("eth0").is_err());
        assert_eq!((live.wakeup_us_max, live.decoders), (None, None));
    }
}
