//! The reviewed disassembly of the bus's hot path: what publishing, routing and receiving a packet does to shared lines.
//!
//! Builds `csf-bus/examples/hot_path.rs` in release and follows its functions as the processor would, through jumps and direct calls of
//! our crates. Where the code asks whether the kernel has membarrier(2) it follows the answer yes, as on every Linux since 4.14; the
//! fences of the other answer are counted. What only unwinding reaches is left out, and so are the functions of [`COLD`].
//! Invariant: nothing reached is a locked instruction, an exchange with memory, a fence, a system call or a call of the allocator, and
//! the calls are those of the golden file, which a person has read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;

use crate::Outcome;
use crate::exec::{self, command, output};

/// Where the walk begins. The clock is called through its port, which a walk cannot see.
const ROOTS: [&str; 6] = [
    "hot_path::publish",
    "hot_path::publish_batch",
    "hot_path::poll",
    "hot_path::poll_batch",
    "hot_path::tick",
    "<csf_time::system_clock::SystemClock as csf_core::port::time_source::TimeSource>::now_ns_unordered",
];

/// Functions of ours that a steady packet does not call, by the end of their names, and when they are called.
const COLD: [(&str, &str); 17] = [
    ("Writer<M>::make_room", "the room known of is used up: once per length of the ring while readers keep up"),
    ("Writer<M>::wake", "a reader sleeps, came or went"),
    ("Publisher<T>::full", "the lane is full; builds the error"),
    ("publisher::future_cause", "a packet names a later one as its cause; builds the error"),
    ("hlc::exhausted", "64-bit time ends; builds the error"),
    ("Reader<M>::acquire_pinned", "readers that lose, filter or conflate, and the first packet of every reader"),
    ("Reader<M>::ring_space", "a producer waits for room"),
    ("Reader<M>::acquire_seen", "the lane of a cause is looked at again"),
    ("Subscription::change_lanes", "a producer came or went"),
    ("Merge::select_past_holds", "a packet waits for a cause that is not there"),
    ("Lanes::obstacle", "a packet with causes among several lanes; only one with more than one cause takes a lock"),
    ("Meter::measure", "every 64th packet, and packets with a deadline"),
    (
        "OsClock as csf_core::port::time_source::TimeSource>::now_ns",
        "the machine has no steady counter: clock_gettime(2)",
    ),
    ("Reader<M>::release_parcel", "a reader that drops the newest gives back what was moved aside for it"),
    ("Hlc::read_slowly", "the machine's clock is due for its adjustment, or is not the machine's"),
    ("Timeline<M>::read_slowly", "the line is due, or is being drawn anew"),
    ("TscClock::unix_ns_slowly", "the counter is due for its adjustment: once a second"),
];

/// The flag by which the code asks for membarrier(2); see `csf-bus/src/ring/platform.rs`.
const FLAG: &str = "csf_bus::ring::platform::IS_ASYMMETRIC";

/// Share by which an instruction count may differ from the golden one before somebody looks again.
const TOLERANCE: f64 = 0.15;

const HEAD: &str = "\
The hot path of the bus, as compiled. Written by `cargo xtask asm --bless`, checked by `cargo xtask asm`, which is a step of
`cargo xtask test`.

What is proven: on the steady path of publishing and routing (publish, publish_batch), receiving (poll, poll_batch) and stamping
(tick, now_ns_unordered) no thread executes a read-modify-write on shared memory, a fence, a system call or the allocator: plain
loads and stores only. Followed are all jumps and direct calls within our crates and core's generic code, except the cold functions listed at the end.
Not followed are calls through a pointer (they are counted: the clock, which is a root itself, and drop glue of payloads that need
it) and calls of the standard library (they are listed; what is freed is the text of an error). `fences without membarrier(2)` counts what runs only where the kernel
refuses that call.

Instruction counts may differ by 15 %; everything else has to be equal under the same compiler.
";

/// `--bless` writes the golden file instead of comparing with it.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    if let Some(reason) = missing() {
        println!("skipped: {reason}");
        return Ok(());
    }
    let text = report()?;
    let path = golden();
    if arguments.iter().any(|a| a == "--bless") {
        std::fs::write(&path, &text).map_err(|e| format!("{}: {e}", path.display()))?;
        println!("wrote {}; read it before you commit it", path.display());
        return Ok(());
    }
    let known = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    compare(&known, &text)
}

/// Why the check cannot be made here.
pub(crate) fn missing() -> Option<String> {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        return Some("the golden disassembly is of x86-64 Linux".to_owned());
    }
    exec::install(&["objdump"], &["binutils"]).err()
}

fn golden() -> PathBuf {
    exec::root().join("docs/formats/hot-path-asm.txt")
}

/// Disassembles, and refuses what a hot path must not do.
fn report() -> Result<String, String> {
    exec::run("cargo", &["build", "--release", "--quiet", "--package", "csf-bus", "--example", "hot_path"])?;
    let program = Program::load(&exec::target().join("release/examples/hot_path").display().to_string())?;
    let mut text = format!("{HEAD}\n{}\n", compiler()?);
    let (mut faults, mut cold) = (Vec::new(), BTreeSet::new());
    let mut todo = Vec::new();
    for root in ROOTS.iter().rev() {
        todo.push(program.find(root).ok_or_else(|| format!("no function `{root}` in the example; was it inlined?"))?);
    }
    let mut seen = BTreeSet::new();
    while let Some(at) = todo.pop() {
        if !seen.insert(at) {
            continue;
        }
        let function = &program.functions[&at];
        let walk = program.walk(function);
        walk.write(function, &mut text);
        faults.extend(walk.faults.iter().map(|fault| format!("{}: {fault}", function.name)));
        for (name, callee) in walk.calls.into_iter().rev() {
            match COLD.iter().find(|(end, _)| name.ends_with(end)) {
                Some(entry) => drop(cold.insert(entry)),
                None if is_followed(&name) && program.functions.contains_key(&callee) => todo.push(callee),
                None => {}
            }
        }
    }
    text.push_str("\ncold, not followed\n");
    for (name, when) in cold {
        let _ = writeln!(text, "  {name}: {when}");
    }
    if faults.is_empty() {
        Ok(text)
    } else {
        Err(format!("the hot path does what it must not:\n  {}", faults.join("\n  ")))
    }
}

/// Our crates, and what the compiler made of core's generic code for them.
fn is_followed(name: &str) -> bool {
    !never_returns(name) && ["csf_", "core::"].iter().any(|part| name.trim_start_matches('<').starts_with(part))
}

fn never_returns(name: &str) -> bool {
    let is_failure = name.contains("::unwrap_failed") || name.contains("::expect_failed");
    is_failure || name.starts_with("core::panicking::") || name.starts_with("_Unwind_Resume")
}

fn compiler() -> Result<String, String> {
    Ok(format!("compiler: {}", output(&mut command("rustc", &["--version"]))?.trim()))
}

/// Line by line; of lines with an instruction count the count may differ.
fn compare(known: &str, text: &str) -> Outcome {
    if !known.lines().any(|line| text.lines().any(|own| own.starts_with("compiler: ") && own == line)) {
        println!("nothing forbidden was found; another compiler than the golden file's, so the rest is not compared");
        return Ok(());
    }
    let (mut old, mut new) = (known.lines(), text.lines());
    loop {
        let (was, is) = match (old.next(), new.next()) {
            (None, None) => return Ok(()),
            (was, is) => (was.unwrap_or("(end)"), is.unwrap_or("(end)")),
        };
        if was != is && !is_near(was, is) {
            let bless = "`cargo xtask asm --bless` takes it over when it is meant";
            return Err(format!("the hot path has changed; {bless}\n  was: {was}\n   is: {is}"));
        }
    }
}

fn is_near(was: &str, is: &str) -> bool {
    let count = |line: &str| line.trim().strip_prefix("instructions: ")?.parse::<f64>().ok();
    count(was).zip(count(is)).is_some_and(|(was, is)| (is - was).abs() <= TOLERANCE * was)
}

struct Program {
    functions: BTreeMap<u64, Function>,
    /// What the slots of the global offset table point to.
    slots: BTreeMap<u64, u64>,
    /// Names of everything that has one.
    names: BTreeMap<u64, String>,
}

struct Function {
    name: String,
    code: Vec<Instruction>,
}

struct Instruction {
    at: u64,
    /// `lock` stands before it.
    is_locked: bool,
    name: String,
    operands: String,
    /// The address in the operand, or of the memory it names.
    address: Option<u64>,
}

/// What is reached in one function.
#[derive(Default)]
struct Walk {
    reached: usize,
    calls: BTreeSet<(String, u64)>,
    indirect: usize,
    /// Fences that are not reached.
    fences: usize,
    faults: Vec<String>,
}

impl Program {
    fn load(file: &str) -> Result<Self, String> {
        let objdump = |what: &[&str]| {
            let arguments: Vec<&str> = what.iter().copied().chain(["--demangle=rust", file]).collect();
            output(&mut command("objdump", &arguments))
        };
        let code = objdump(&["--disassemble", "--no-show-raw-insn", "--wide"])?;
        Ok(Self::parse(&code, &objdump(&["--dynamic-reloc"])?, &objdump(&["--syms", "--wide"])?))
    }

    fn parse(code: &str, relocations: &str, symbols: &str) -> Self {
        let mut functions = BTreeMap::new();
        for block in code.split("\n\n") {
            if let Some((at, function)) = Function::parse(block) {
                functions.insert(at, function);
            }
        }
        let slots = relocations.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            let (slot, _kind, target) = (words.next()?, words.next()?, words.next()?);
            Some((hex(slot)?, hex(target.strip_prefix("*ABS*+")?)?))
        });
        let mut names: BTreeMap<u64, String> = functions.iter().map(|(at, f)| (*at, f.name.clone())).collect();
        // `address flags section<TAB>size name`
        names.extend(symbols.lines().filter_map(|line| {
            let (place, rest) = line.split_once('\t')?;
            let (_size, name) = rest.split_once(' ')?;
            let name = name.trim().trim_start_matches(".hidden ");
            Some((hex(place.split_whitespace().next()?)?, name.to_owned()))
        }));
        Self { slots: slots.collect(), functions, names }
    }

    fn find(&self, name: &str) -> Option<u64> {
        self.functions.iter().find(|(_, function)| function.name == name).map(|(at, _)| *at)
    }

    fn name(&self, at: u64) -> String {
        self.names.get(&at).cloned().unwrap_or_else(|| "(unnamed)".to_owned())
    }

    /// Follows the jumps of a function from its entry.
    fn walk(&self, function: &Function) -> Walk {
        let code = &function.code;
        let place = |at: u64| code.binary_search_by_key(&at, |instruction| instruction.at).ok();
        let (mut reached, mut todo) = (BTreeSet::new(), vec![0]);
        let mut walk = Walk::default();
        while let Some(index) = todo.pop() {
            let Some(instruction) = code.get(index).filter(|_| reached.insert(index)) else { continue };
            if instruction.is_forbidden() {
                walk.faults.push(instruction.text());
            }
            if instruction.name == "call" || instruction.name == "jmp" {
                let (target, is_call) = (self.target(instruction), instruction.name == "call");
                match target {
                    Some(target) if !is_call && place(target).is_some() => todo.extend(place(target)),
                    Some(target) => walk.call(target, self.name(target)),
                    None if is_call => walk.indirect += 1,
                    // The targets of a jump table are not known.
                    None => walk.faults.push(format!("{} cannot be followed", instruction.text())),
                }
                if is_call && !target.is_some_and(|target| never_returns(&self.name(target))) {
                    todo.push(index + 1);
                }
            } else if instruction.name.starts_with('j') {
                let is_answered = self.asks_for_membarrier(&code[..index]) && instruction.name == "je";
                todo.extend(instruction.address.and_then(place).filter(|_| !is_answered));
                todo.push(index + 1);
            } else if !matches!(instruction.name.as_str(), "ret" | "ud2") {
                // A function whose address is taken may be called through it.
                if let Some(target) = self.taken(instruction) {
                    walk.call(target, self.name(target));
                }
                todo.push(index + 1);
            }
        }
        walk.reached = reached.len();
        let is_left = |(index, instruction): &(usize, &Instruction)| !reached.contains(index) && instruction.is_fence();
        walk.fences = code.iter().enumerate().filter(is_left).count();
        walk
    }

    /// Where a direct call or jump leads, also through the global offset table.
    fn target(&self, instruction: &Instruction) -> Option<u64> {
        let address = instruction.address?;
        if instruction.operands.starts_with('*') { self.slots.get(&address).copied() } else { Some(address) }
    }

    /// The function whose address the instruction loads.
    fn taken(&self, instruction: &Instruction) -> Option<u64> {
        let address = instruction.address?;
        let target = match instruction.name.as_str() {
            "mov" => self.slots.get(&address).copied(),
            "lea" => Some(address),
            _ => None,
        };
        target.filter(|target| self.functions.contains_key(target))
    }

    /// Whether the code ends with a test of [`FLAG`]: `mov slot(%rip),%rax; movzbl (%rax),%eax; test %al,%al`, or a comparison.
    fn asks_for_membarrier(&self, code: &[Instruction]) -> bool {
        let is_flag = |at: &u64| self.names.get(at).is_some_and(|name| name == FLAG);
        let is_load = |instruction: &Instruction| {
            let address = instruction.address;
            address.is_some_and(|at| is_flag(&at) || self.slots.get(&at).is_some_and(is_flag))
        };
        match code {
            [.., test] if test.name == "cmpb" && test.operands.starts_with("$0x0,") => is_load(test),
            [.., load, test] if test.is_test_of_itself() && load.name == "movzbl" && is_load(load) => true,
            [.., slot, load, test] if test.is_test_of_itself() && load.name == "movzbl" => {
                slot.name == "mov" && is_load(slot)
            }
            _ => false,
        }
    }
}

impl Function {
    /// A heading `address <name>:` and its instructions.
    fn parse(block: &str) -> Option<(u64, Self)> {
        let mut lines = block.trim_start_matches('\n').lines();
        let (at, name) = lines.next()?.strip_suffix(">:")?.split_once(" <")?;
        let code = lines.filter_map(Instruction::parse).collect();
        Some((hex(at)?, Self { name: name.to_owned(), code }))
    }
}

impl Instruction {
    /// `address:<TAB>name operands # address <what is there>`
    fn parse(line: &str) -> Option<Self> {
        let (at, text) = line.trim().split_once(":\t")?;
        let (text, note) = text.split_once('#').map_or((text, None), |(text, note)| (text, Some(note)));
        let (is_locked, text) =
            text.trim().strip_prefix("lock ").map_or((false, text.trim()), |rest| (true, rest.trim()));
        let text = ["bnd ", "notrack ", "addr32 ", "data16 ", "repz "]
            .iter()
            .fold(text, |text, prefix| text.strip_prefix(prefix).map_or(text, str::trim));
        let (name, operands) = text.split_once(' ').unwrap_or((text, ""));
        let operands = operands.trim();
        let address = hex(note.unwrap_or(operands).split_whitespace().next().unwrap_or_default());
        Some(Self { at: hex(at)?, is_locked, name: name.to_owned(), operands: operands.to_owned(), address })
    }

    fn text(&self) -> String {
        format!("{}{} {}", if self.is_locked { "lock " } else { "" }, self.name, self.operands)
    }

    /// An exchange with memory is locked without saying so.
    fn is_forbidden(&self) -> bool {
        let is_exchange = self.name.starts_with("xchg") && self.operands.contains('(');
        self.is_locked || is_exchange || matches!(self.name.as_str(), "mfence" | "syscall" | "sysenter" | "int")
    }

    /// A locked "or 0" to the own stack is a fence.
    fn is_fence(&self) -> bool {
        self.name == "mfence" || (self.is_locked && self.operands.ends_with("(%rsp)"))
    }

    fn is_test_of_itself(&self) -> bool {
        self.name == "test" && self.operands.split_once(',').is_some_and(|(left, right)| left == right)
    }
}

impl Walk {
    fn call(&mut self, target: u64, name: String) {
        // What is freed on a path that allocates nothing is the text of an error: visible as a call, and no fault.
        const ALLOCATOR: [&str; 5] = ["__rust_alloc", "__rust_realloc", "malloc", "calloc", "realloc"];
        if ALLOCATOR.iter().any(|part| name.contains(part)) {
            self.faults.push(format!("call {name}"));
        }
        self.calls.insert((name, target));
    }

    fn write(&self, function: &Function, text: &mut String) {
        let _ = writeln!(text, "\n{}\n  instructions: {}", function.name, self.reached);
        let _ = writeln!(text, "  forbidden: {}", self.faults.len());
        let _ = writeln!(text, "  fences without membarrier(2): {}", self.fences);
        let _ = writeln!(text, "  calls through a pointer: {}", self.indirect);
        let names: BTreeSet<&str> = self.calls.iter().map(|(name, _)| name.as_str()).collect();
        for name in names {
            let _ = writeln!(text, "  calls {name}");
        }
    }
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As objdump 2.44 prints a function that publishes: an awaited fence, a call through the table, a panic and its landing pad.
    const CODE: &str = "
0000000000001000 <csf::publish>:
    1000:\tmov    0x1000(%rip),%rax        # 2000 <_DYNAMIC+0x10>
    1007:\tmovzbl (%rax),%eax
    100a:\ttest   %al,%al
    100c:\tje     1020 <csf::publish+0x20>
    100e:\tcall   *0x1000(%rip)        # 2008 <_DYNAMIC+0x18>
    1014:\tret
    1020:\tlock orl $0x0,-0x40(%rsp)
    1026:\tjmp    100e <csf::publish+0xe>
    1028:\tlock decq (%rax)

0000000000001100 <csf::wake>:
    1100:\ttest   %al,%al
    1102:\tje     1110 <csf::wake+0x10>
    1104:\txchg   %ax,%ax
    1106:\tret
    1110:\txchg   %rax,0x20(%rdi)
    1114:\tcall   1200 <core::panicking::panic>
    1119:\tmfence

0000000000001200 <core::panicking::panic>:
    1200:\tud2
";
    const SLOTS: &str = "
0000000000002000 R_X86_64_RELATIVE  *ABS*+0x0000000000003000
0000000000002008 R_X86_64_RELATIVE  *ABS*+0x0000000000001100
";
    const SYMBOLS: &str = "
0000000000003000 l     O .bss\t0000000000000001 csf_bus::ring::platform::IS_ASYMMETRIC
";

    fn walk(name: &str) -> Walk {
        let program = Program::parse(CODE, SLOTS, SYMBOLS);
        let at = program.find(name).expect("the function is there");
        program.walk(&program.functions[&at])
    }

    #[test]
    fn a_fence_for_want_of_membarrier_is_counted_and_no_fault() {
        let walk = walk("csf::publish");
        assert_eq!(walk.faults, Vec::<String>::new());
        assert_eq!((walk.fences, walk.reached), (1, 6));
        assert_eq!(walk.calls, BTreeSet::from([("csf::wake".to_owned(), 0x1100)]));
    }

    #[test]
    fn an_exchange_with_memory_is_a_fault_and_what_follows_a_panic_is_not_reached() {
        assert_eq!(walk("csf::wake").faults, ["xchg %rax,0x20(%rdi)"]);
    }

    #[test]
    fn counts_may_differ_a_little_and_calls_may_not() {
        let report = |count: u64, call: &str| format!("compiler: c\n  instructions: {count}\n  calls {call}\n");
        assert_eq!(compare(&report(100, "a"), &report(115, "a")), Ok(()));
        assert!(compare(&report(100, "a"), &report(116, "a")).is_err());
        assert!(compare(&report(100, "a"), &report(100, "b")).is_err());
    }
}
