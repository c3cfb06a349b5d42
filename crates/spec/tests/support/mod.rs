//! Tasks that differ in their service section alone.

use spec::{Overrides, Purpose, ServiceSpec, SourceText, Task, check_task};

/// What stands behind the service section.
pub(crate) const REST: &str = "resources:\n  ports: 8080\nrun: echo\n";

/// What is said of a task with this service section.
pub(crate) fn check(section: &str) -> spec::Checked {
    let text = format!("service: {section}\n{REST}");
    let source = SourceText::new("task.yaml", text);
    check_task(&source, &Overrides::default(), Purpose::Service)
}

/// The task, which must be without fault.
pub(crate) fn task(section: &str) -> Task {
    let checked = check(section);
    let diagnostics = checked.diagnostics;
    checked
        .task
        .unwrap_or_else(|| panic!("{section}\n{diagnostics:#?}"))
}

/// Its service.
pub(crate) fn service(section: &str) -> ServiceSpec {
    task(section).service.expect("a service")
}
