//! What a template of Resource Manager's says once its expressions are worked out.
//!
//! Source: *ARM templates: syntax, expressions, functions*. What is not there, and a function that nobody taught this, ends
//! the test.

use std::{cell::RefCell, collections::BTreeSet};

use base64ct::{Base64, Encoding as _};
use serde_json::{Map, Value, json};

/// A template with the values of its parameters.
pub(crate) struct Template<'a> {
    text: &'a Value,
    given: Map<String, Value>,
    /// Parameters and variables that were read.
    read: RefCell<BTreeSet<String>>,
}

impl<'a> Template<'a> {
    pub(crate) fn new(text: &'a Value, given: &Value) -> Self {
        let given = given.as_object().cloned().unwrap_or_default();
        for name in given.keys() {
            assert!(text["parameters"][name].is_object(), "there is no parameter {name}");
        }
        Self {
            text,
            given,
            read: RefCell::default(),
        }
    }

    /// The resources, those of templates within too, each with the resource group or the subscription that those name.
    pub(crate) fn resources(&self) -> Vec<(Option<String>, Value)> {
        let mut all = Vec::new();
        for resource in self.text["resources"].as_array().expect("resources") {
            if resource["type"] != "Microsoft.Resources/deployments" {
                all.push((None, self.value(resource)));
                continue;
            }
            let mut outer = resource.clone();
            let inner = outer["properties"]["template"].take();
            let outer = self.value(&outer);
            assert_eq!(outer["properties"]["expressionEvaluationOptions"]["scope"], "inner");
            let given = outer["properties"]["parameters"].as_object().expect("parameters");
            let given = given.iter().map(|(name, given)| (name.clone(), given["value"].clone()));
            let within = Template::new(&inner, &Value::Object(given.collect()));
            let place = [&outer["resourceGroup"], &outer["subscriptionId"]];
            let group = place.into_iter().find_map(Value::as_str).map(str::to_owned);
            all.extend(within.resources().into_iter().map(|(_, made)| (group.clone(), made)));
            assert_eq!(within.unread(), [""; 0]);
        }
        all
    }

    /// The outputs' values.
    pub(crate) fn outputs(&self) -> Value {
        let outputs = self.text["outputs"].as_object().cloned().unwrap_or_default();
        let outputs = outputs
            .iter()
            .map(|(name, output)| (name.clone(), self.value(&output["value"])));
        Value::Object(outputs.collect())
    }

    /// Parameters and variables that nothing has read.
    pub(crate) fn unread(&self) -> Vec<String> {
        let read = self.read.borrow();
        let names = |kind: &'static str| {
            let all = self.text[kind].as_object().into_iter().flatten();
            all.map(move |(name, _)| format!("{kind}.{name}"))
        };
        let all = names("parameters").chain(names("variables"));
        all.filter(|name| !read.contains(name)).collect()
    }

    fn value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.text(text),
            Value::Array(all) => all.iter().map(|one| self.value(one)).collect(),
            Value::Object(all) => {
                let all = all.iter().map(|(name, one)| (name.clone(), self.value(one)));
                Value::Object(all.collect())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    fn text(&self, text: &str) -> Value {
        if let Some(literal) = text.strip_prefix("[[") {
            return format!("[{literal}").into();
        }
        match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(expression) => {
                let mut reader = Reader {
                    template: self,
                    rest: expression,
                };
                let value = reader.expression();
                assert_eq!(reader.rest.trim(), "", "in {text}");
                value
            }
            None => text.into(),
        }
    }

    fn parameter(&self, name: &str) -> Value {
        self.read.borrow_mut().insert(format!("parameters.{name}"));
        if let Some(given) = self.given.get(name) {
            return given.clone();
        }
        let parameter = &self.text["parameters"][name];
        assert!(parameter.is_object(), "there is no parameter {name}");
        let usual = &parameter["defaultValue"];
        assert!(!usual.is_null(), "the parameter {name} has no value");
        self.value(usual)
    }

    fn variable(&self, name: &str) -> Value {
        self.read.borrow_mut().insert(format!("variables.{name}"));
        let variable = &self.text["variables"][name];
        assert!(!variable.is_null(), "there is no variable {name}");
        self.value(variable)
    }

    fn call(&self, function: &str, arguments: &[Value]) -> Value {
        let text = |at: usize| {
            arguments[at]
                .as_str()
                .unwrap_or_else(|| panic!("{function}: no text: {arguments:?}"))
        };
        let texts = || arguments.iter().filter_map(Value::as_str).collect::<Vec<_>>();
        match function {
            "parameters" => self.parameter(text(0)),
            "variables" => self.variable(text(0)),
            "toLower" => text(0).to_lowercase().into(),
            "base64" => Base64::encode_string(text(0).as_bytes()).into(),
            "string" => arguments[0].to_string().into(),
            "guid" => format!("guid-of-{}", texts().join("-")).into(),
            "join" => {
                let lines = arguments[0].as_array().expect("a list to join").iter();
                let lines: Vec<_> = lines.map(|line| line.as_str().expect("a line")).collect();
                lines.join(text(1)).into()
            }
            "format" => format(&texts()).into(),
            "resourceGroup" => json!({ "id": "/subscriptions/SUB/resourceGroups/GROUP", "location": "westeurope" }),
            "subscription" => {
                json!({ "id": "/subscriptions/SUB", "subscriptionId": "0b1f6471-1bf0-4dda-aec3-cb9272f09590",
                "tenantId": "5c6d2e8a-77c4-4f5c-9c57-1a4e2d8f3b60" })
            }
            "resourceId" | "subscriptionResourceId" => format!("/{}/{}", text(0), texts()[1..].join("/")).into(),
            "reference" => json!({ "identity": { "principalId": "PRINCIPAL" }, "ipAddress": "192.0.2.1" }),
            other => panic!("nobody knows the function {other}"),
        }
    }
}

/// `{0}` is the first argument, `{{` is `{`.
fn format(arguments: &[&str]) -> String {
    let (mut said, mut rest) = (String::new(), arguments[0]);
    while let Some(at) = rest.find(['{', '}']) {
        said.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with("{{") || rest.starts_with("}}") {
            said.push_str(&rest[..1]);
            rest = &rest[2..];
            continue;
        }
        let end = rest.find('}').expect("a placeholder has an end");
        let number: usize = rest[1..end].parse().expect("a placeholder has a number");
        said.push_str(arguments[number + 1]);
        rest = &rest[end + 1..];
    }
    said + rest
}

/// Reads an expression from the left.
struct Reader<'t, 'a> {
    template: &'t Template<'a>,
    rest: &'t str,
}

impl Reader<'_, '_> {
    fn expression(&mut self) -> Value {
        self.rest = self.rest.trim_start();
        if self.rest.starts_with('\'') {
            return self.literal().into();
        }
        let end = self.rest.find('(').expect("a function is called");
        let function = self.rest[..end].trim();
        self.rest = &self.rest[end + 1..];
        let mut arguments = Vec::new();
        loop {
            self.rest = self.rest.trim_start();
            if self.take(')') {
                break;
            }
            assert!(arguments.is_empty() || self.take(','), "a comma before {}", self.rest);
            arguments.push(self.expression());
        }
        let mut value = self.template.call(function, &arguments);
        while self.take('.') {
            let end = self.rest.find(|letter: char| !letter.is_ascii_alphanumeric());
            let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
            value = value[name].take();
            assert!(!value.is_null(), "{function} has no {name}");
            self.rest = rest;
        }
        value
    }

    fn literal(&mut self) -> String {
        let mut said = String::new();
        loop {
            self.rest = &self.rest[1..];
            let end = self.rest.find('\'').expect("a literal ends");
            said.push_str(&self.rest[..end]);
            self.rest = &self.rest[end + 1..];
            if !self.rest.starts_with('\'') {
                return said;
            }
            said.push('\'');
        }
    }

    fn take(&mut self, letter: char) -> bool {
        let rest = self.rest.strip_prefix(letter);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }
}

#[test]
fn an_expression_means_what_resource_manager_takes_it_for() {
    let text = json!({
        "parameters": { "a": { "type": "string", "defaultValue": "[toLower('LOW')]" }, "unread": {} },
        "variables": { "lines": ["[[Unit]", "[format('x={0}', parameters('a'))]", "[open"] },
        "resources": [],
        "outputs": {
            "literal": { "value": "it''s" },
            "escaped": { "value": "[toLower('It''s')]" },
            "joined": { "value": "[join(variables('lines'), '\n')]" },
            "braces": { "value": "[format('{0} {{ {1} }}', 'a', 'b')]" },
            "member": { "value": "[reference(resourceId('T/t', 'n'), 'v', 'full').identity.principalId]" }
        }
    });
    let template = Template::new(&text, &json!({}));
    let expected = json!({
        "literal": "it''s", "escaped": "it's", "joined": "[Unit]\nx=low\n[open", "braces": "a { b }", "member": "PRINCIPAL"
    });
    assert_eq!(template.outputs(), expected);
    assert_eq!(template.unread(), ["parameters.unread"]);
}
