//! Flags: generated from the table, and applied before a command runs.

use clap::builder::{PossibleValuesParser, ValueParser};
use clap::{Arg, ArgAction, ArgMatches};

use super::draft::Draft;
use super::kind::{Given, SettingKind};
use super::origin::Origin;
use super::setting::Setting;
use super::table::TABLE;
use super::values::Settings;

/// The heading over these flags.
const HEADING: &str = "Settings (flags win over variables, variables over the file: embed config --help)";

/// The flag that names the model of a service, or the one of the file's models that is used.
const MODEL_FLAG: &str = "model";

/// The flags of the settings with these keys and in these sections, for `#[command(args = flags(…))]`. Their values are in
/// the [`Settings`] that the command gets.
pub(crate) fn flags(keys: &[&str]) -> Vec<Arg> {
    let mut flags: Vec<Arg> = Vec::new();
    for setting in
        TABLE.iter().filter(|setting| keys.contains(&setting.key) || keys.contains(&setting.path().0))
    {
        let Some((flag, value)) = setting.flag else { continue };
        if !flags.iter().any(|known| known.get_long() == Some(flag)) {
            flags.push(arg(setting, flag).long(flag).value_name(value).help_heading(HEADING).global(true));
        }
    }
    flags
}

fn arg(setting: &'static Setting, flag: &str) -> Arg {
    let sharers: Vec<_> = sharing(flag).collect();
    let id = sharers.first().map_or(setting.key, |first| first.key);
    let arg = Arg::new(id).help(sharers.iter().map(|setting| help(setting)).collect::<Vec<_>>().join(" "));
    match &setting.kind {
        SettingKind::Choice { of, .. } => arg.value_parser(PossibleValuesParser::new(of())).ignore_case(true),
        // clap's messages quote the value, and the values of a shared flag depend on the service.
        _ if setting.secret || sharers.len() > 1 => arg,
        SettingKind::Texts { .. } => arg.action(ArgAction::Append).value_parser(checked(setting)),
        _ => arg.value_parser(checked(setting)),
    }
}

fn help(Setting { help, variable, kind, .. }: &Setting) -> String {
    match kind.get(&Settings::default()) {
        Some(default) => format!("{help} [default: {default}; variable: {variable}]"),
        None => format!("{help} [variable: {variable}]"),
    }
}

/// Makes clap report an invalid value as wrong usage.
fn checked(setting: &'static Setting) -> ValueParser {
    ValueParser::new(move |text: &str| {
        setting.kind.set(&mut Settings::default(), &Given::Text(text.to_owned())).map(|()| text.to_owned())
    })
}

/// The settings that share a flag; most flags have one.
fn sharing(flag: &str) -> impl Iterator<Item = &'static Setting> {
    TABLE.iter().filter(move |setting| setting.flag.is_some_and(|(name, _)| name == flag))
}

/// Applies the flags of the command.
pub(super) fn apply(matches: &ArgMatches, draft: &mut Draft) {
    let mut matches = matches;
    while let Some((_, of_command)) = matches.subcommand() {
        matches = of_command;
    }
    for first in TABLE {
        let Some((flag, _)) = first.flag else { continue };
        // A shared flag has the key of the first of its settings.
        let Ok(Some(values)) = matches.try_get_many::<String>(first.key) else { continue };
        let text = values.map(|value| value.trim()).collect::<Vec<_>>().join(",");
        if flag == MODEL_FLAG && !draft.settings.is_preset() {
            draft.settings.only = Some(text);
            continue;
        }
        // The service is the first in the table, so it is known by now.
        let service = draft.settings.service.name();
        let mut sharers = sharing(flag);
        let is_shared = sharing(flag).count() > 1;
        match sharers.find(|setting| !is_shared || setting.path().0 == service) {
            Some(setting) => draft.set(setting, Origin::Flag(flag), &text),
            None => {
                let keys: Vec<_> = sharing(flag).map(|setting| setting.key).collect();
                let what = format!("{service} has several models; set {}", keys.join(" or "));
                draft.problems.push(format!("--{flag}: {what}"));
            }
        }
    }
}
