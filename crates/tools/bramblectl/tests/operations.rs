//! Every operation of the API has a command: its description (management's golden file) beside this table.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

/// Each operation, and the command that asks for it.
const COMMANDS: &[(&str, &str)] = &[
    ("ShowRoot", "host version"),
    ("ShowDescription", "host description"),
    ("ShowCa", "host ca"),
    ("LogIn", "login"),
    ("ShowSession", "whoami"),
    // A login ends its session as soon as it has a token.
    ("LogOut", "login"),
    ("ChangePassword", "password"),
    ("ListSessions", "user sessions"),
    ("EndSession", "user end-session"),
    ("ListLockOuts", "user lock-outs"),
    ("ClearLockOut", "user clear-lock-out"),
    ("ListUsers", "user list"),
    ("CreateUser", "user create"),
    ("ShowUser", "user show"),
    ("ChangeUser", "user change"),
    ("DeleteUser", "user delete"),
    ("ListTokens", "token list"),
    ("CreateToken", "token create"),
    ("DeleteToken", "token delete"),
    ("ListAudit", "audit list"),
    ("ListVms", "vm list"),
    ("CreateVm", "vm create"),
    ("ShowVm", "vm show"),
    ("ChangeVm", "vm edit"),
    ("DeleteVm", "vm delete"),
    ("PowerVm", "vm start"),
    ("ShowVmStatistics", "vm statistics"),
    ("ShowVmHistory", "vm history"),
    ("ShowVmLog", "vm log"),
    ("OpenConsole", "vm console"),
    ("CloneVm", "vm clone"),
    ("ResetFirmware", "vm reset-firmware"),
    ("ListSnapshots", "vm snapshots"),
    ("CreateSnapshot", "vm snapshot"),
    ("RevertSnapshot", "vm revert"),
    ("DeleteSnapshot", "vm delete-snapshot"),
    ("ListDisks", "storage disks"),
    ("ShowDatastore", "storage show"),
    ("MakeDatastore", "storage make"),
    ("ListVolumes", "storage volumes"),
    ("CreateVolume", "storage create"),
    ("CreateSeed", "storage seed"),
    ("ShowVolume", "storage volume"),
    ("ChangeVolume", "storage resize"),
    ("DeleteVolume", "storage delete"),
    ("ListObjects", "storage objects"),
    ("DownloadObject", "storage download"),
    ("DeleteObject", "storage delete-object"),
    ("Import", "storage import"),
    ("ListUploads", "storage uploads"),
    ("BeginUpload", "storage upload"),
    ("ShowUpload", "storage upload"),
    ("SendUpload", "storage upload"),
    ("DropUpload", "storage drop-upload"),
    ("ListTasks", "task list"),
    ("ShowTask", "task show"),
    ("CancelTask", "task cancel"),
    ("WatchEvents", "events"),
    ("ShowHost", "host show"),
    ("ShowSettings", "host settings"),
    ("ChangeSettings", "host settings"),
    ("ConfirmSettings", "host confirm"),
    ("RevertSettings", "host revert"),
    ("ShowHostNetwork", "host addresses"),
    ("ShowHostTime", "host time"),
    ("ShowCertificate", "host certificate"),
    ("RenewCertificate", "host renew-certificate"),
    ("PowerHost", "host restart"),
    ("ShowHostHistory", "host history"),
    ("ShowHostLog", "host log"),
    ("DownloadSupportBundle", "support-bundle"),
    ("ShowNetwork", "host network"),
    ("ShowMetrics", "host metrics"),
];

fn operations() -> BTreeSet<String> {
    let description: Value =
        serde_json::from_str(include_str!("../../../models/management/src/openapi.json")).unwrap();
    let paths = description["paths"].as_object().unwrap().values();
    let operations = paths.filter_map(Value::as_object).flat_map(|path| path.values());
    operations.filter_map(|operation| operation["operationId"].as_str().map(str::to_owned)).collect()
}

#[test]
fn every_operation_has_a_command() {
    let has: BTreeSet<String> = COMMANDS.iter().map(|(operation, _)| (*operation).to_owned()).collect();
    let operations = operations();
    assert!(operations.len() > 40);
    let missing: Vec<_> = operations.difference(&has).collect();
    assert!(missing.is_empty(), "without a command: {missing:?}");
    let gone: Vec<_> = has.difference(&operations).collect();
    assert!(gone.is_empty(), "the API has no {gone:?}");
}

#[test]
fn every_command_of_the_table_is_there() {
    let words: BTreeSet<&str> = COMMANDS.iter().map(|(_, words)| *words).collect();
    for words in words {
        let mut help = Command::new(env!("CARGO_BIN_EXE_bramblectl"));
        let output = help.args(words.split(' ')).arg("--help").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(&format!("Usage: bramblectl {words}")), "{words}: {text}");
    }
}
