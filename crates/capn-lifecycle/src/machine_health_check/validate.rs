//! Validates the spec of a health check.

use capi_api::MachineHealthCheck;
use capi_api::core::{
    RemediationTemplateRef, TopologyHealthChecks, UnhealthyMachineCondition, UnhealthyNodeCondition,
};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::bound::{Bound, range};
use crate::objects::check_selector;

/// Default timeout for a machine to become a node, in seconds.
const NODE_STARTUP_SECONDS: i32 = 600;

/// Minimum timeout. A smaller value is certainly a mistake.
const LEAST_STARTUP_SECONDS: i32 = 30;

/// Machine conditions that a health check must not use, because they follow from its result.
const FOLLOWING: [&str; 5] =
    ["Ready", "Available", "HealthCheckSucceeded", "OwnerRemediated", "ExternallyRemediated"];

/// A validated health check.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ValidHealthCheck {
    pub(super) bound: Bound,
    /// Timeout for a machine to become a node. `None` means no timeout.
    pub(super) node_startup: Option<SignedDuration>,
    pub(super) node_conditions: Vec<UnhealthyNodeCondition>,
    pub(super) machine_conditions: Vec<UnhealthyMachineCondition>,
    /// Template of the remediation request that replaces remediation by the owner.
    pub(super) template: Option<Template>,
}

/// Reference to the template of a remediation request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
    pub(super) name: String,
}

/// Parses the spec of a health check, or returns the problem.
pub(super) fn parse(check: &MachineHealthCheck) -> Result<ValidHealthCheck, String> {
    if let Some((field, problem)) = problems(check).into_iter().next() {
        return Err(format!("{field}: {problem}"));
    }
    let checks = check.spec.checks.clone().unwrap_or_default();
    let startup = checks.node_startup_timeout_seconds.unwrap_or(NODE_STARTUP_SECONDS);
    let template = check.spec.remediation.as_ref().and_then(|r| r.template_ref.as_ref());
    Ok(ValidHealthCheck {
        bound: bound(check)?,
        node_startup: (startup > 0).then(|| SignedDuration::from_secs(i64::from(startup))),
        node_conditions: checks.unhealthy_node_conditions.unwrap_or_default(),
        machine_conditions: checks.unhealthy_machine_conditions.unwrap_or_default(),
        template: template.map(self::template).transpose()?,
    })
}

/// Returns the invalid fields of a health check, with messages.
pub(crate) fn problems(check: &MachineHealthCheck) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    let mut wrong = |field: String, problem: String| problems.push((field, problem));
    if let Err(problem) = check_selector(&check.spec.selector) {
        wrong("spec.selector".to_owned(), problem);
    }
    if let Err(problem) = bound(check) {
        let field = if in_range(check).is_some() { IN_RANGE } else { AT_MOST };
        wrong(field.to_owned(), problem);
    }
    let template = check.spec.remediation.as_ref().and_then(|r| r.template_ref.as_ref());
    for (field, problem) in template.into_iter().flat_map(of_template) {
        wrong(format!("spec.remediation.templateRef.{field}"), problem);
    }
    for (field, problem) in check.spec.checks.iter().flat_map(of_checks) {
        wrong(format!("spec.checks.{field}"), problem);
    }
    problems
}

const IN_RANGE: &str = "spec.remediation.triggerIf.unhealthyInRange";
const AT_MOST: &str = "spec.remediation.triggerIf.unhealthyLessThanOrEqualTo";

fn of_template(reference: &RemediationTemplateRef) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    if !is_template(&reference.kind) {
        // Otherwise the created object would have the kind of the template.
        problems.push(("kind".to_owned(), "must end in Template".to_owned()));
    }
    if let Err(problem) = template(reference) {
        problems.push(("apiVersion".to_owned(), problem));
    }
    problems
}

fn is_template(kind: &str) -> bool {
    kind.strip_suffix("Template").is_some_and(|made| !made.is_empty())
}

fn of_checks(checks: &TopologyHealthChecks) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    let negative = "must not be negative".to_owned();
    let startup = checks.node_startup_timeout_seconds.unwrap_or(NODE_STARTUP_SECONDS);
    if startup != 0 && startup < LEAST_STARTUP_SECONDS {
        problems.push((
            "nodeStartupTimeoutSeconds".to_owned(),
            format!("must be at least {LEAST_STARTUP_SECONDS}, or 0 for no limit"),
        ));
    }
    for (at, condition) in checks.unhealthy_node_conditions.iter().flatten().enumerate() {
        if condition.timeout_seconds < 0 {
            let field = format!("unhealthyNodeConditions[{at}].timeoutSeconds");
            problems.push((field, negative.clone()));
        }
    }
    for (at, condition) in checks.unhealthy_machine_conditions.iter().flatten().enumerate() {
        if condition.timeout_seconds < 0 {
            let field = format!("unhealthyMachineConditions[{at}].timeoutSeconds");
            problems.push((field, negative.clone()));
        }
        if FOLLOWING.contains(&condition.kind.as_str()) {
            problems.push((
                format!("unhealthyMachineConditions[{at}].type"),
                format!(
                    "must not be one of {}: health checks set these conditions",
                    FOLLOWING.join(", ")
                ),
            ));
        }
    }
    problems
}

fn in_range(check: &MachineHealthCheck) -> Option<&str> {
    let trigger = check.spec.remediation.as_ref()?.trigger_if.as_ref()?;
    trigger.unhealthy_in_range.as_deref().filter(|text| !text.is_empty())
}

fn bound(check: &MachineHealthCheck) -> Result<Bound, String> {
    if let Some(text) = in_range(check) {
        return range(text);
    }
    let trigger = check.spec.remediation.as_ref().and_then(|r| r.trigger_if.as_ref());
    let at_most = trigger.and_then(|trigger| trigger.unhealthy_less_than_or_equal_to.clone());
    let at_most = at_most.unwrap_or_else(|| IntOrString::String("100%".to_owned()));
    let is_good = match &at_most {
        IntOrString::Int(count) => *count >= 0,
        IntOrString::String(text) => text.strip_suffix('%').is_some_and(is_percentage),
    };
    if is_good {
        Ok(Bound::AtMost(at_most))
    } else {
        Err("must be a number or a percentage (examples: 1, \"40%\")".to_owned())
    }
}

fn is_percentage(digits: &str) -> bool {
    !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit())
        && digits.parse::<i32>().is_ok()
}

fn template(reference: &RemediationTemplateRef) -> Result<Template, String> {
    let (group, version) = reference
        .api_version
        .split_once('/')
        .ok_or_else(|| format!("\"{}\" is not a valid group/version", reference.api_version))?;
    Ok(Template {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: reference.kind.clone(),
        name: reference.name.clone(),
    })
}
