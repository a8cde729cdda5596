//! Programs on security hooks by another way than the list of security modules: on the kernel's functions that ask these.
//!
//! The kernel calls a function `security_*` for each hook (`security/security.c`), and lets programs modify what these return
//! (`kernel/bpf/verifier.c:check_attach_modify_return`): such a program is called first, with the function's arguments, which are the
//! hook's. If it answers with 0 the function is called, and asks the modules; anything else is what the function returns, and
//! nobody else is asked. So a program for a hook does the same there, and the very same ones are loaded.
//!
//! aya has no such programs. The object is read a second time, with the maps that aya has made for it.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::time::Duration;

use anyhow::Context as _;
use aya::Ebpf;
use aya::programs::ProgramError;
use aya_obj::btf::BtfError;
use aya_obj::{Function, Object, VerifierLog, copy_instructions};

use super::asked::Asked;
use super::bpf::{self, Loadable};
use super::btf::Types;
use super::hooks::HOOKS;
use super::load::raise_memlock;
use super::own;
use super::pins::Pins;

/// Where it is tried whether a kernel takes such programs: hardly ever called.
const TRIED: &str = "security_sb_pivotroot";
/// `r0 = 0; exit`
const PROCEED: [u8; 16] = [0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];

/// The programs, and the functions they are for. Dropping it detaches them.
#[derive(Debug)]
pub struct ModifyReturn {
    license: CString,
    /// The types of the programs themselves.
    types: OwnedFd,
    /// Those that are not loaded.
    programs: HashMap<String, Function>,
    /// Number of the kernel's function for each hook.
    functions: HashMap<&'static str, u32>,
    /// Those that are, by name.
    loaded: HashMap<&'static str, OwnedFd>,
    /// What holds them where they are attached, by their names.
    links: Vec<(&'static str, OwnedFd)>,
    /// The same, of what is pinned.
    pinned: Vec<OwnedFd>,
}

/// Whether such programs can be loaded and attached.
///
/// # Errors
/// Says what the kernel refuses.
pub fn works(types: &Types) -> anyhow::Result<()> {
    let target = types.function(TRIED).with_context(|| format!("this kernel does not show {TRIED}"))?;
    // Programs count as well, those of a guard that stands among them.
    raise_memlock();
    let instructions = copy_instructions(&PROCEED)?;
    let program = Loadable { name: "tried", instructions: &instructions, license: c"GPL", function: None, target };
    let loaded = bpf::load_modify_return(program)
        .map_err(|(error, _)| error)
        .context("this kernel takes no programs that modify what its functions return")?;
    let link = bpf::attach(loaded.as_fd());
    link.map(drop).context("this kernel attaches no programs that modify what its functions return")
}

impl ModifyReturn {
    /// Takes from `object` the programs on hooks, for the maps that `ebpf` has of it.
    ///
    /// # Errors
    /// If that object is not the same, or the kernel does not take its types.
    pub fn new(object: &[u8], ebpf: &Ebpf, functions: HashMap<&'static str, u32>) -> anyhow::Result<Self> {
        let mut object = Object::parse(object)?;
        let features = aya::features();
        let types = features.btf().context("this kernel takes no types")?;
        let types = object.fixup_and_sanitize_btf(types)?.context("the programs have no types")?.to_bytes();
        let types = bpf::load_types(&types).context("the kernel refused the programs' types")?;
        let maps = std::mem::take(&mut object.maps);
        let made: HashMap<&str, RawFd> =
            ebpf.maps().filter_map(|(name, map)| Some((name, own::data(map)?.fd().as_fd().as_raw_fd()))).collect();
        let text = object.functions.keys().map(|(section, _)| *section).collect();
        let made = |name: &str| made.get(name).copied().with_context(|| format!("map {name} was not made"));
        let maps = maps.iter().map(|(name, map)| Ok((name.as_str(), made(name)?, map)));
        // A map that is left out would be no error: the programs would look into nothing.
        object.relocate_maps(maps.collect::<anyhow::Result<Vec<_>>>()?.into_iter(), &text)?;
        object.relocate_calls(&text)?;
        object.sanitize_functions(features);
        let functions_of = |name: &str| object.functions.get(&object.programs.get(name)?.function_key()).cloned();
        let programs = HOOKS.iter().filter_map(|hook| Some((hook.program.to_owned(), functions_of(hook.program)?)));
        let programs = programs.collect();
        Ok(Self {
            license: object.license,
            types,
            programs,
            functions,
            loaded: HashMap::new(),
            links: Vec::new(),
            pinned: Vec::new(),
        })
    }

    /// Loads the program `name` for a hook.
    ///
    /// # Errors
    /// Says what the kernel refuses.
    pub fn load(&self, name: &str, hook: &str) -> Result<OwnedFd, ProgramError> {
        let unknown = || BtfError::UnknownBtfTypeName { type_name: Asked::ModifiedReturn.function(hook) };
        let target = *self.functions.get(hook).ok_or_else(unknown)?;
        let function = self.programs.get(name).ok_or(ProgramError::AlreadyLoaded)?;
        let license: &CStr = &self.license;
        let instructions = &function.instructions;
        let function = Some((function, self.types.as_fd()));
        bpf::load_modify_return(Loadable { name, instructions, license, function, target })
            .map_err(|(io_error, log)| ProgramError::LoadError { io_error, verifier_log: VerifierLog::new(log) })
    }

    /// Keeps a program that was [loaded](Self::load).
    pub fn keep(&mut self, name: &'static str, program: OwnedFd) {
        self.programs.remove(name);
        self.loaded.insert(name, program);
    }

    /// Attaches a program that is kept.
    ///
    /// # Errors
    /// Says what the kernel refuses.
    pub fn attach(&mut self, name: &'static str) -> Result<(), ProgramError> {
        let program = self.loaded.get(name).ok_or(ProgramError::NotLoaded)?;
        self.links.push((name, bpf::attach(program.as_fd())?));
        Ok(())
    }

    /// Has those that are attached outlive this process.
    ///
    /// # Errors
    /// Whatever bpffs says.
    pub fn pin(&mut self, pins: &Pins) -> anyhow::Result<()> {
        for (name, link) in self.links.drain(..) {
            pins.pin(name, link.as_fd()).with_context(|| format!("program {name} could not be pinned"))?;
            self.pinned.push(link);
        }
        Ok(())
    }

    /// How long each has run, and how often, as far as the kernel measures.
    pub fn runs(&self) -> impl Iterator<Item = (&'static str, Duration, u64)> {
        self.loaded.iter().filter_map(|(name, program)| {
            let info = bpf::info(program.as_fd()).ok()?;
            Some((*name, Duration::from_nanos(info.run_time_ns), info.run_cnt))
        })
    }
}

/// The numbers of the functions for all hooks, among the kernel's types.
#[must_use]
pub fn functions(types: &Types) -> HashMap<&'static str, u32> {
    let named: HashMap<String, &'static str> =
        HOOKS.iter().map(|hook| (Asked::ModifiedReturn.function(hook.name), hook.name)).collect();
    types.functions().filter_map(|(name, id)| Some((*named.get(name)?, id))).collect()
}
