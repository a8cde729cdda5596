//! Times: read from events, and written as people read them.

/// Nanoseconds of a second.
pub const SECOND: u64 = 1_000_000_000;

/// Reads the times of events, `2026-11-20T23:48:01.123456789Z`. Most are of the same second as the one before, so that
/// second is read once.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    prefix: [u8; PREFIX],
    seconds: u64,
}

/// Characters up to the whole second.
const PREFIX: usize = "2026-11-20T23:48:01".len();

impl Reader {
    /// Nanoseconds since 1970; none where the text is no time.
    pub fn read(&mut self, text: &str) -> Option<u64> {
        let bytes = text.as_bytes();
        let (prefix, rest) = bytes.split_first_chunk::<PREFIX>()?;
        if *prefix != self.prefix {
            let time: jiff::Timestamp = text.parse().ok()?;
            self.seconds = u64::try_from(time.as_second()).ok()?;
            self.prefix = *prefix;
        }
        let mut nanoseconds = 0;
        let mut scale = SECOND / 10;
        for digit in rest.strip_prefix(b".").unwrap_or(b"").iter().take_while(|byte| byte.is_ascii_digit()) {
            nanoseconds += u64::from(digit - b'0') * scale;
            scale /= 10;
        }
        Some(self.seconds * SECOND + nanoseconds)
    }
}

/// The time of day in UTC, to the second.
#[must_use]
pub fn of_day(time: u64) -> String {
    let seconds = time / SECOND % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Now, in nanoseconds since 1970.
#[must_use]
pub fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    since.as_nanos() as u64
}

/// A span of time in at most six characters.
#[must_use]
pub fn span(nanoseconds: u64) -> String {
    let seconds = nanoseconds / SECOND;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_events_have_them() {
        let mut reader = Reader::default();
        let at = |reader: &mut Reader, text| reader.read(text).expect(text);
        let first = at(&mut reader, "2026-11-20T23:48:01.123456789Z");
        assert_eq!(first % SECOND, 123_456_789);
        assert_eq!(of_day(first), "23:48:01");
        assert_eq!(at(&mut reader, "2026-11-20T23:48:01.5Z") - first / SECOND * SECOND, SECOND / 2);
        assert_eq!(at(&mut reader, "2026-11-20T23:48:02Z"), first / SECOND * SECOND + SECOND);
        assert_eq!(at(&mut reader, "1970-01-01T00:00:01Z"), SECOND);
        assert_eq!(reader.read("yesterday"), None);
        assert_eq!(reader.read("2026-13-20T23:48:01.123456789Z"), None);
    }

    #[test]
    fn spans_are_short() {
        let spans = [0, 59, 60, 3599, 3600, 86_399, 86_400, 864_000].map(|seconds| span(seconds * SECOND));
        assert_eq!(spans, ["0s", "59s", "1m00s", "59m59s", "1h00m", "23h59m", "1d00h", "10d00h"]);
    }
}
