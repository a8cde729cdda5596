//! The few calls of bpf(2) that aya has no words for.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use aya_obj::Function;
use aya_obj::generated::{bpf_attach_type, bpf_cmd, bpf_insn, bpf_prog_info, bpf_prog_type};

/// Letters of a program's name that the kernel keeps.
const NAME: usize = 15;
/// Bytes for what the verifier has to say, the most that any kernel takes.
const LOG: usize = (16 << 20) - 1;
/// How often a program is offered to a kernel that was interrupted while it looked at it.
const TRIES: usize = 5;

/// A program, ready to be loaded.
#[derive(Clone, Copy)]
pub struct Loadable<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its instructions.
    pub instructions: &'a [bpf_insn],
    /// Its license.
    pub license: &'a CStr,
    /// What it is made of, and the types that describe it; a program without functions of its own needs none.
    pub function: Option<(&'a Function, BorrowedFd<'a>)>,
    /// Number of the function that it is for, among the kernel's types.
    pub target: u32,
}

/// Attributes of `BPF_PROG_LOAD` (`include/uapi/linux/bpf.h:union bpf_attr`), up to the last that is used here.
#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; NAME + 1],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    attach_btf_id: u32,
}

/// Attributes of `BPF_BTF_LOAD`.
#[repr(C)]
#[derive(Default)]
struct BtfLoad {
    btf: u64,
    log_buf: u64,
    btf_size: u32,
    log_size: u32,
    log_level: u32,
    _pad: u32,
}

/// Attributes of `BPF_RAW_TRACEPOINT_OPEN`.
#[repr(C)]
#[derive(Default)]
struct RawTracepointOpen {
    name: u64,
    prog_fd: u32,
    _pad: u32,
}

/// Attributes of `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
#[derive(Default)]
struct ObjGetInfo {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// Hands types over.
///
/// # Errors
/// What the kernel says.
pub fn load_types(types: &[u8]) -> io::Result<OwnedFd> {
    let attributes = BtfLoad { btf: address(types), btf_size: types.len() as u32, ..BtfLoad::default() };
    // SAFETY: what it points to outlives the call, and is only read.
    unsafe { descriptor(bpf_cmd::BPF_BTF_LOAD, &attributes) }
}

/// Loads a program that modifies what a function returns.
///
/// # Errors
/// What the kernel says, and its verifier.
pub fn load_modify_return(program: Loadable<'_>) -> Result<OwnedFd, (io::Error, String)> {
    let mut name = [0; NAME + 1];
    let letters = &program.name.as_bytes()[..program.name.len().min(NAME)];
    name[..letters.len()].copy_from_slice(letters);
    let mut attributes = ProgLoad {
        prog_type: bpf_prog_type::BPF_PROG_TYPE_TRACING as u32,
        expected_attach_type: bpf_attach_type::BPF_MODIFY_RETURN as u32,
        attach_btf_id: program.target,
        insns: address(program.instructions),
        insn_cnt: program.instructions.len() as u32,
        license: program.license.as_ptr() as u64,
        prog_name: name,
        ..ProgLoad::default()
    };
    // Kept until the call is over.
    let (functions, lines) = program.function.map_or_else(Default::default, |(function, _)| {
        (function.func_info.func_info_bytes(), function.line_info.line_info_bytes())
    });
    if let Some((function, types)) = program.function {
        attributes.prog_btf_fd = types.as_raw_fd() as u32;
        attributes.func_info = address(&functions);
        attributes.func_info_cnt = function.func_info.len() as u32;
        attributes.func_info_rec_size = function.func_info_rec_size as u32;
        attributes.line_info = address(&lines);
        attributes.line_info_cnt = function.line_info.len() as u32;
        attributes.line_info_rec_size = function.line_info_rec_size as u32;
    }
    let error = match load(&attributes) {
        Ok(program) => return Ok(program),
        Err(error) => error,
    };
    let mut log = vec![0; LOG];
    (attributes.log_level, attributes.log_size, attributes.log_buf) = (1, LOG as u32, log.as_mut_ptr() as u64);
    // Where there is too much to be said, that is the second error; the first is what it was about.
    load(&attributes).map_err(|_| {
        let end = log.iter().position(|byte| *byte == 0).unwrap_or(LOG);
        (error, String::from_utf8_lossy(&log[..end]).into_owned())
    })
}

fn load(attributes: &ProgLoad) -> io::Result<OwnedFd> {
    let mut tries = 1;
    loop {
        // SAFETY: what it points to outlives the call, and is only read, but for the log, which nobody else looks at meanwhile.
        match unsafe { descriptor(bpf_cmd::BPF_PROG_LOAD, attributes) } {
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) && tries < TRIES => tries += 1,
            result => return result,
        }
    }
}

/// Attaches a program to the function that it was loaded for; dropping what is returned detaches it.
///
/// # Errors
/// What the kernel says.
pub fn attach(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let attributes = RawTracepointOpen { prog_fd: program.as_raw_fd() as u32, ..RawTracepointOpen::default() };
    // SAFETY: a number, and no name.
    unsafe { descriptor(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &attributes) }
}

/// What the kernel knows of a program.
///
/// # Errors
/// What the kernel says.
pub fn info(program: BorrowedFd<'_>) -> io::Result<bpf_prog_info> {
    // SAFETY: made of numbers only.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    let attributes = ObjGetInfo {
        bpf_fd: program.as_raw_fd() as u32,
        info_len: size_of::<bpf_prog_info>() as u32,
        info: (&raw mut info) as u64,
    };
    // SAFETY: the kernel writes as much as it is told there is room for. No older one leaves out what is in use.
    unsafe { call(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &attributes)? };
    Ok(info)
}

fn address<T>(slice: &[T]) -> u64 {
    slice.as_ptr() as u64
}

/// A call that gives a descriptor.
///
/// # Safety
/// As for [`call`], and the command gives a new descriptor.
unsafe fn descriptor<T>(command: bpf_cmd, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: as the caller says.
    unsafe { Ok(OwnedFd::from_raw_fd(call(command, attributes)? as i32)) }
}

/// # Safety
/// The attributes are this command's, and their addresses lead to what it may read or write.
unsafe fn call<T>(command: bpf_cmd, attributes: &T) -> io::Result<i64> {
    // SAFETY: as the caller says.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_long, std::ptr::from_ref(attributes), size_of::<T>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
