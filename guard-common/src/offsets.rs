//! Where the running kernel keeps what the programs read.
//!
//! rustc emits no CO-RE relocations, so user space looks each of these up in `/sys/kernel/btf/vmlinux` and
//! hands the programs one read-only [`Offsets`]; the verifier sees constants.

/// [`Offsets`] value of a member that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

macro_rules! offsets {
    ($($(#[$doc:meta])* $field:ident = $path:literal $need:ident,)*) => {
        /// Byte offsets of members of kernel structures.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Offsets { $($(#[$doc])* pub $field: u32,)* }

        impl Offsets {
            /// Nothing known.
            pub const NONE: Self = Self { $($field: ABSENT,)* };

            /// For each member: its name as `struct.member.member`, whether guard can run without it, and
            /// where to put it.
            pub fn members(&mut self) -> impl Iterator<Item = (&'static str, bool, &mut u32)> {
                [$(($path, offsets!(@$need), &mut self.$field),)*].into_iter()
            }
        }
    };
    (@required) => { true };
    (@optional) => { false };
}

offsets! {
    /// Thread flags that include `TS_COMPAT` (x86).
    task_status = "task_struct.thread_info.status" required,
    /// First thread of the group.
    task_group_leader = "task_struct.group_leader" required,
    /// The parent, whoever traces.
    task_real_parent = "task_struct.real_parent" required,
    /// Thread id.
    task_pid = "task_struct.pid" required,
    /// Process id.
    task_tgid = "task_struct.tgid" required,
    /// First of the threads that the thread traces, the latest before the others.
    task_ptraced = "task_struct.ptraced" required,
    /// What a traced thread hangs in that list by.
    task_ptrace_entry = "task_struct.ptrace_entry" required,
    /// Its process id in each of the namespaces that it has one in.
    task_thread_pid = "task_struct.thread_pid" required,
    /// How deep the innermost of these namespaces lies; 0 for the machine's own.
    pid_level = "pid.level" required,
    /// Start in nanoseconds since boot.
    task_start = "task_struct.start_boottime" required,
    /// Address space.
    task_mm = "task_struct.mm" required,
    /// Open files.
    task_files = "task_struct.files" required,
    /// Root and working folder.
    task_fs = "task_struct.fs" required,
    /// What the thread has to do before it returns to user space.
    task_works = "task_struct.task_works" required,
    /// What the thread group shares.
    task_signal = "task_struct.signal" required,
    /// Wait status of the thread.
    task_exit_code = "task_struct.exit_code" required,
    /// Threads that have not begun to exit.
    signal_live = "signal_struct.live" required,
    /// Wait status of the group, once it is set.
    signal_group_exit_code = "signal_struct.group_exit_code" required,
    /// First byte of the arguments.
    mm_arg_start = "mm_struct.arg_start" required,
    /// End of the arguments.
    mm_arg_end = "mm_struct.arg_end" required,
    /// First byte of the environment.
    mm_env_start = "mm_struct.env_start" required,
    /// End of the environment.
    mm_env_end = "mm_struct.env_end" required,
    /// The file that was made the process's image.
    binprm_file = "linux_binprm.file" required,
    /// What was executed by the string that the call was given.
    binprm_filename = "linux_binprm.filename" required,
    /// The same of what was loaded: another string where that is an interpreter.
    binprm_interp = "linux_binprm.interp" required,
    /// The file that was executed, where the interpreter is handed it.
    binprm_executable = "linux_binprm.executable" optional,
    /// What its process will be allowed.
    binprm_cred = "linux_binprm.cred" required,
    /// What the thread is allowed.
    task_cred = "task_struct.cred" required,
    /// Real user id.
    cred_uid = "cred.uid" required,
    /// Effective user id.
    cred_euid = "cred.euid" required,
    /// Capabilities that may be used.
    cred_permitted = "cred.cap_permitted" required,
    /// File of the executable.
    mm_exe_file = "mm_struct.exe_file" required,
    /// Mount of a path.
    path_mnt = "path.mnt" required,
    /// Directory entry of a path.
    path_dentry = "path.dentry" required,
    /// Mount of an open file.
    file_mnt = "file.f_path.mnt" required,
    /// Directory entry of an open file.
    file_dentry = "file.f_path.dentry" required,
    /// Inode of an open file.
    file_inode = "file.f_inode" required,
    /// Where a file that nobody holds any more waits to be closed.
    file_work = "file.f_task_work|file.f_rcuhead|file.f_u.fu_rcuhead" required,
    /// Inode of a directory entry.
    dentry_inode = "dentry.d_inode" required,
    /// Flags of the open.
    file_flags = "file.f_flags" required,
    /// `FMODE_*` bits.
    file_mode = "file.f_mode" required,
    /// The socket, of a socket's file.
    file_private = "file.private_data" required,
    /// Parent folder; the name follows directly.
    dentry_parent = "dentry.d_parent" required,
    /// Name: length in the upper half of 8 bytes, then a pointer.
    dentry_name = "dentry.d_name" required,
    /// The part of a mount that a path points to.
    mount_mnt = "mount.mnt" required,
    /// What it is mounted on.
    mount_parent = "mount.mnt_parent" required,
    /// Where it is mounted.
    mount_mountpoint = "mount.mnt_mountpoint" required,
    /// Mount namespace; an error value for the kernel's own mounts, null once detached.
    mount_ns = "mount.mnt_ns" required,
    /// Root of what is mounted.
    vfsmount_root = "vfsmount.mnt_root" required,
    /// The filesystem of what is mounted.
    vfsmount_sb = "vfsmount.mnt_sb" required,
    /// Its device number.
    sb_device = "super_block.s_dev" required,
    /// Number of a mount namespace.
    namespace_number = "mnt_namespace.ns.inum" required,
    /// Type and permissions.
    inode_mode = "inode.i_mode" required,
    /// Inode number.
    inode_number = "inode.i_ino" required,
    /// Descriptor table.
    files_fdt = "files_struct.fdt" required,
    /// Array of files.
    fdt_fd = "fdtable.fd" required,
    /// Bits of the descriptors in use.
    fdt_open = "fdtable.open_fds" required,
    /// Size of that array.
    fdt_max = "fdtable.max_fds" required,
    /// Mount of the working folder.
    fs_pwd_mnt = "fs_struct.pwd.mnt" required,
    /// Directory entry of the working folder.
    fs_pwd_dentry = "fs_struct.pwd.dentry" required,
    /// Mount of the root folder.
    fs_root_mnt = "fs_struct.root.mnt" required,
    /// Directory entry of the root folder.
    fs_root_dentry = "fs_struct.root.dentry" required,
    /// The protocol's socket.
    socket_sk = "socket.sk" required,
    /// `SOCK_*`.
    socket_type = "socket.type" required,
    /// Address family.
    sock_family = "sock.__sk_common.skc_family" required,
    /// `SOCK_*`.
    sock_type = "sock.sk_type" required,
    /// The other end of a unix socket.
    unix_peer = "unix_sock.peer" optional,
    /// Bound address of a unix socket.
    unix_addr = "unix_sock.addr" optional,
    /// Mount of the path a unix socket is bound to.
    unix_mnt = "unix_sock.path.mnt" optional,
    /// Directory entry of the path a unix socket is bound to.
    unix_dentry = "unix_sock.path.dentry" optional,
    /// Length of a unix address, the family's two bytes included.
    unix_addr_len = "unix_address.len" optional,
    /// The address itself.
    unix_addr_name = "unix_address.name" optional,
    /// What a control group is in its file system.
    group_node = "cgroup.kn" required,
    /// The hierarchy of a control group.
    group_root = "cgroup.root" required,
    /// Number of a hierarchy; 0 for the unified one.
    hierarchy_number = "cgroup_root.hierarchy_id" required,
    /// Number of a control group: the inode number of its folder.
    node_number = "kernfs_node.id" required,
    /// Number of a map.
    map_id = "bpf_map.id" required,
    /// Operation of an `io_uring` request.
    io_opcode = "io_kiocb.opcode" optional,
    /// File of an `io_uring` request.
    io_file = "io_kiocb.file" optional,
    /// Operation's own part of an `io_uring` request.
    io_cmd = "io_kiocb.cmd" optional,
    /// Slot of the fixed file table that an `io_uring` open fills, plus one; 0 for a descriptor.
    io_open_slot = "io_open.file_slot" optional,
    /// Family of the socket that an `io_uring` request makes.
    io_socket_domain = "io_socket.domain" optional,
    /// Its `SOCK_*`, with flags.
    io_socket_type = "io_socket.type" optional,
    /// Result of an `io_uring` request.
    cqe_res = "io_uring_cqe.res" optional,
}

/// Everything that user space tells the programs before they are loaded.
///
/// It is one large constant on purpose. LLVM lets equal constants share their place, and takes a small static of
/// the programs for one more constant: a lone `static X: u32 = 0` can become the place of every `&0` that is passed to
/// a helper, and change under it when user space sets it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the running kernel keeps what the programs read.
    pub offsets: Offsets,
    /// 1: executables are matched against the agents' patterns machine-wide; 0: only within trees.
    pub host_wide: u32,
    /// The reader of the bulk is woken each time so many more bytes wait there; a power of two.
    pub bulk_wake: u32,
    /// The same for the verdicts' ring, as long as only processes' lives are told there.
    pub verdict_wake: u32,
    /// Numbers of the mount namespaces whose mounts are known: guard's own, and that of the first process.
    pub mount_namespaces: [u32; 2],
    /// First slot of working memory for programs on security hooks; 0 where there are none.
    pub hook_slots: u32,
    /// 1: `path_rename` is told the flags of the call.
    pub rename_has_flags: u32,
    /// guard's own process, where it protects itself; 0 where it does not.
    pub own_process: u32,
}

impl Settings {
    /// As long as user space has set nothing.
    pub const UNSET: Self = Self {
        offsets: Offsets::NONE,
        host_wide: 0,
        bulk_wake: 4096,
        verdict_wake: 4096,
        mount_namespaces: [0; 2],
        hook_slots: 0,
        rename_has_flags: 0,
        own_process: 0,
    };
}

/// Entry of the map of hooks with the `HOOK_*` bits in force.
pub const HOOKS_IN_FORCE: u32 = 0;
/// Entry with the [`Call`](crate::calls::Call)s that are judged once they have succeeded, a bit each.
pub const CALLS_JUDGED: u32 = 1;

/// Bit of the hooks in force: files are judged when they are opened or received.
pub const HOOK_FILE: u32 = 1;
/// Unix sockets are judged when they are connected or sent to.
pub const HOOK_UNIX: u32 = 2;
/// Sockets are judged when they are made, those that the control group's hooks do not see.
pub const HOOK_SOCKET: u32 = 4;
/// Slots of working memory for programs on security hooks, for each CPU.
pub const HOOK_SLOTS: u32 = 4;

#[cfg(feature = "user")]
// SAFETY: `repr(C)`, made of u32 only.
unsafe impl aya::Pod for Settings {}
