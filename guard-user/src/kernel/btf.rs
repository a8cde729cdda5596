//! Just enough of the BPF type format to find members of structures.
//!
//! Format: `Documentation/bpf/btf.rst`. aya parses it too but keeps the members to itself.

use std::collections::HashMap;

/// Where every kernel of 5.10 and later that can run guard shows its types.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// The types of a kernel.
pub struct Types {
    data: Vec<u8>,
    strings: usize,
    /// Position of each type by its id; id 0 is `void`.
    positions: Vec<usize>,
    structs: HashMap<String, u32>,
    typedefs: HashMap<String, u32>,
}

const KIND_PTR: u32 = 2;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_TYPE_TAG: u32 = 18;

/// Bytes of the part that all types have.
const TYPE_BYTES: usize = 12;
/// Bytes of a function's argument.
const ARGUMENT_BYTES: usize = 8;
/// Bytes of a structure's member.
const MEMBER_BYTES: usize = 12;

impl Types {
    /// Reads the types of a kernel; `None` where the data is not well formed.
    #[must_use]
    pub fn parse(data: Vec<u8>) -> Option<Self> {
        if u16::from_ne_bytes(data.get(..2)?.try_into().ok()?) != 0xeb9f {
            return None;
        }
        let word = |at: usize| Some(u32::from_ne_bytes(data.get(at..at + 4)?.try_into().ok()?) as usize);
        let header = word(4)?;
        let (type_offset, type_bytes, string_offset) = (header + word(8)?, word(12)?, header + word(16)?);
        let mut parsed = Self {
            strings: string_offset,
            positions: vec![0],
            structs: HashMap::new(),
            typedefs: HashMap::new(),
            data,
        };
        let mut at = type_offset;
        while at < type_offset + type_bytes {
            let info = parsed.word(at + 4)?;
            let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            let id = parsed.positions.len() as u32;
            parsed.positions.push(at);
            let name = parsed.string(parsed.word(at)?)?;
            match kind {
                KIND_STRUCT if count > 0 && !name.is_empty() => {
                    let name = name.to_owned();
                    parsed.structs.entry(name).or_insert(id);
                }
                KIND_TYPEDEF => {
                    let name = name.to_owned();
                    parsed.typedefs.entry(name).or_insert(id);
                }
                _ => {}
            }
            at += TYPE_BYTES
                + match kind {
                    1 | 14 | 17 => 4,
                    3 => 12,
                    KIND_STRUCT | KIND_UNION | 15 | 19 => count * 12,
                    6 | KIND_FUNC_PROTO => count * 8,
                    _ => 0,
                };
        }
        Some(parsed)
    }

    /// Byte offset of a member, given as `struct.member.member`; `None` if this kernel has no such member.
    #[must_use]
    pub fn offset_of(&self, path: &str) -> Option<u32> {
        let mut parts = path.split('.');
        let mut id = *self.structs.get(parts.next()?)?;
        let mut offset = 0;
        for part in parts {
            let (bits, member) = self.member(self.strip(id)?, part)?;
            offset += bits;
            id = member;
        }
        Some(offset / 8)
    }

    /// Number of arguments of a tracepoint, from the prototype that its raw tracepoint has; `None` if this
    /// kernel has no such tracepoint.
    #[must_use]
    pub fn tracepoint_arguments(&self, name: &str) -> Option<usize> {
        let typedef = *self.typedefs.get(&format!("btf_trace_{name}"))?;
        let mut id = self.word(self.positions[typedef as usize] + 8)?;
        loop {
            let at = *self.positions.get(id as usize)?;
            let info = self.word(at + 4)?;
            match info >> 24 & 0x1f {
                KIND_PTR => id = self.word(at + 8)?,
                // The first argument is the probe's own data.
                KIND_FUNC_PROTO => return ((info & 0xffff) as usize).checked_sub(1),
                _ => return None,
            }
        }
    }

    /// Number of arguments of a function; `None` if this kernel has no such function.
    #[must_use]
    pub fn function_arguments(&self, name: &str) -> Option<usize> {
        Some(self.arguments(name)?.len())
    }

    /// Whether structures are among the arguments of a function; `None` if this kernel has no such function.
    #[must_use]
    pub fn takes_structures(&self, name: &str) -> Option<bool> {
        let is_structure = |id: u32| {
            let at = *self.positions.get(self.strip(id)? as usize)?;
            Some(matches!(self.word(at + 4)? >> 24 & 0x1f, KIND_STRUCT | KIND_UNION))
        };
        Some(self.arguments(name)?.into_iter().any(|id| is_structure(id).unwrap_or(false)))
    }

    /// Number of a function among the types; `None` if this kernel has no such function.
    #[must_use]
    pub fn function(&self, name: &str) -> Option<u32> {
        self.functions().find(|(other, _)| *other == name).map(|(_, id)| id)
    }

    /// All functions, and their numbers among the types.
    pub fn functions(&self) -> impl Iterator<Item = (&str, u32)> {
        let is_function = |at: usize| self.word(at + 4).is_some_and(|info| info >> 24 & 0x1f == KIND_FUNC);
        // Number 0 is no type.
        let functions = self.positions.iter().zip(0..).skip(1).filter(move |(at, _)| is_function(**at));
        functions.filter_map(|(at, id)| Some((self.string(self.word(*at)?)?, id)))
    }

    /// Types of a function's arguments.
    fn arguments(&self, name: &str) -> Option<Vec<u32>> {
        let at = *self.positions.get(self.function(name)? as usize)?;
        let prototype = *self.positions.get(self.word(at + 8)? as usize)?;
        let count = (self.word(prototype + 4)? & 0xffff) as usize;
        (0..count).map(|i| self.word(prototype + TYPE_BYTES + i * ARGUMENT_BYTES + 4)).collect()
    }

    /// Offset in bits and type of a member, also of one inside an unnamed structure or union.
    fn member(&self, id: u32, name: &str) -> Option<(u32, u32)> {
        let at = *self.positions.get(id as usize)?;
        let info = self.word(at + 4)?;
        if !matches!(info >> 24 & 0x1f, KIND_STRUCT | KIND_UNION) {
            return None;
        }
        // With the kind flag set, the upper 8 bits hold the size of a bit field.
        let mask = if info >> 31 != 0 { 0x00ff_ffff } else { u32::MAX };
        for i in 0..(info & 0xffff) as usize {
            let member = at + TYPE_BYTES + i * MEMBER_BYTES;
            let member_name = self.string(self.word(member)?)?;
            let (member_type, bits) = (self.word(member + 4)?, self.word(member + 8)? & mask);
            if member_name == name {
                return Some((bits, member_type));
            }
            if member_name.is_empty()
                && let Some((inner, found)) = self.strip(member_type).and_then(|inner| self.member(inner, name))
            {
                return Some((bits + inner, found));
            }
        }
        None
    }

    /// Follows names and qualifiers to the type itself.
    fn strip(&self, mut id: u32) -> Option<u32> {
        loop {
            let at = *self.positions.get(id as usize).filter(|at| **at != 0)?;
            match self.word(at + 4)? >> 24 & 0x1f {
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG => {
                    id = self.word(at + 8)?;
                }
                _ => return Some(id),
            }
        }
    }

    fn word(&self, at: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(self.data.get(at..at + 4)?.try_into().ok()?))
    }

    fn string(&self, offset: u32) -> Option<&str> {
        let rest = self.data.get(self.strings + offset as usize..)?;
        std::str::from_utf8(&rest[..rest.iter().position(|byte| *byte == 0)?]).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_is_refused_without_panic() {
        assert!(Types::parse(vec![]).is_none());
        assert!(Types::parse(vec![0xff; 64]).is_none());
        let mut header = vec![0x9f, 0xeb, 1, 0, 24, 0, 0, 0];
        header.extend([0, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
        assert!(Types::parse(header).is_none());
    }
}
