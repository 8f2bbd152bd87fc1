//! Configurations of VMs: of files, which are a `host.toml` with one `[[vm]]`, and of options.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::path::Path;

/// What options say of a VM; what none says stays as it is.
#[derive(clap::Args, Clone, Default)]
pub struct Settings {
    /// How many vCPUs.
    #[arg(long, value_name = "N")]
    vcpus: Option<u8>,
    /// How much RAM: 512MiB, 4GiB.
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Boot this firmware.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kernel", "initrd", "command_line"])]
    firmware: Option<String>,
    /// Boot this kernel.
    #[arg(long, value_name = "FILE")]
    kernel: Option<String>,
    /// … with this initrd.
    #[arg(long, value_name = "FILE")]
    initrd: Option<String>,
    /// … and this command line.
    #[arg(long, value_name = "TEXT")]
    command_line: Option<String>,
    /// A volume for a disk. May be repeated; the disks, but for CDs, are then these.
    #[arg(long, value_name = "NAME")]
    volume: Vec<String>,
    /// An uploaded ISO (`iso:NAME`) for a CD, which nobody writes. May be repeated; the CDs are then these.
    #[arg(long, value_name = "NAME")]
    iso: Vec<String>,
    /// How many network cards.
    #[arg(long, value_name = "N")]
    nics: Option<usize>,
    /// Whether it starts with the host.
    #[arg(long, value_name = "BOOL")]
    autostart: Option<bool>,
}

impl Settings {
    fn apply(&self, vm: &mut Value) {
        let put = |object: &mut Value, field: &str, value: Option<Value>| {
            if let Some(value) = value {
                object[field] = value;
            }
        };
        put(vm, "vcpus", self.vcpus.map(Value::from));
        put(vm, "memory", self.memory.clone().map(Value::from));
        put(vm, "autostart", self.autostart.map(Value::from));
        if let Some(firmware) = &self.firmware {
            vm["boot"] = json!({ "firmware": firmware });
        }
        if self.kernel.is_some() && vm["boot"]["firmware"].is_string() {
            vm["boot"] = json!({});
        }
        put(&mut vm["boot"], "kernel", self.kernel.clone().map(Value::from));
        put(&mut vm["boot"], "initrd", self.initrd.clone().map(Value::from));
        put(&mut vm["boot"], "command_line", self.command_line.clone().map(Value::from));
        for (names, kind, is_cd) in [(&self.volume, "volume", false), (&self.iso, "iso", true)] {
            if names.is_empty() {
                continue;
            }
            let others = vm["disk"].as_array().cloned().unwrap_or_default();
            let mut disks: Vec<Value> =
                others.into_iter().filter(|disk| disk["iso"].is_string() != is_cd).collect();
            disks.extend(names.iter().map(|name| json!({ kind: name })));
            vm["disk"] = disks.into();
        }
        if let Some(nics) = self.nics {
            let mut cards = vm["nic"].as_array().cloned().unwrap_or_default();
            cards.resize(nics, json!({}));
            vm["nic"] = cards.into();
        }
    }
}

/// Of a new VM: what a file says, or options for a name.
pub fn new(vm: &str, settings: &Settings) -> Result<Value> {
    let path = Path::new(vm);
    let mut configuration = if path.is_file() {
        of_file(path)?
    } else {
        ensure!(
            settings.vcpus.is_some() && settings.memory.is_some(),
            "there is no file {vm}; for a VM of that name give --vcpus and --memory"
        );
        json!({ "name": vm, "boot": {}, "disk": [], "nic": [{}] })
    };
    settings.apply(&mut configuration);
    Ok(configuration)
}

/// Of a VM that is there, as it shall be.
pub fn changed(shown: &Value, file: Option<&Path>, settings: &Settings) -> Result<Value> {
    let mut configuration = match file {
        Some(file) => of_file(file)?,
        None => shown["configuration"].clone(),
    };
    ensure!(configuration.is_object(), "the host does not say how the VM is configured");
    settings.apply(&mut configuration);
    Ok(configuration)
}

/// The one VM of a document. Its rules are checked here, so that a mistake is told with its line.
fn of_file(file: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
    let parsed = api::HostDocument::parse(&text);
    if let Some(problem) = parsed.problems.first() {
        anyhow::bail!("{problem}");
    }
    let mut vms = parsed.document.vms.into_iter();
    match (vms.next(), vms.next()) {
        (Some(vm), None) => Ok(serde_json::to_value(vm)?),
        _ => anyhow::bail!("{} has to have exactly one [[vm]]", file.display()),
    }
}

/// Prints a VM's configuration, as `create` and `edit` read it.
pub fn print(shown: &Value) -> Result<()> {
    let document = json!({ "vm": [shown["configuration"]] });
    print!("{}", toml::to_string(&document).context("the VM's configuration is none of this version's")?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Settings, changed, new};
    use serde_json::json;

    #[test]
    fn options_change_what_they_name_and_nothing_else() {
        let shown = json!({ "configuration": {
            "name": "web", "vcpus": 1, "memory": "1GiB", "boot": { "kernel": "k", "initrd": "i" },
            "disk": [{ "volume": "web" }], "nic": [{ "mac": "52:54:00:00:00:01" }], "new-field": 7
        }});
        let settings = Settings { vcpus: Some(2), nics: Some(2), ..Settings::default() };
        let vm = changed(&shown, None, &settings).expect("a configuration");
        assert_eq!((&vm["vcpus"], &vm["memory"], &vm["new-field"]), (&json!(2), &json!("1GiB"), &json!(7)));
        assert_eq!(vm["nic"], json!([{ "mac": "52:54:00:00:00:01" }, {}]));
        let settings = Settings { firmware: Some("edk2.fd".into()), ..Settings::default() };
        assert_eq!(changed(&shown, None, &settings).expect("one")["boot"], json!({ "firmware": "edk2.fd" }));
    }

    #[test]
    fn a_new_vm_needs_a_size() {
        assert!(new("web", &Settings::default()).is_err());
        let settings = Settings {
            vcpus: Some(2),
            memory: Some("1GiB".into()),
            volume: vec!["a".into()],
            ..Settings::default()
        };
        let vm = new("web", &settings).expect("a configuration");
        assert_eq!((&vm["name"], &vm["disk"]), (&json!("web"), &json!([{ "volume": "a" }])));
        let shown = json!({ "configuration": vm });
        let settings = Settings { iso: vec!["cd".into()], ..Settings::default() };
        let vm = changed(&shown, None, &settings).expect("a configuration");
        assert_eq!(vm["disk"], json!([{ "volume": "a" }, { "iso": "cd" }]));
    }
}
