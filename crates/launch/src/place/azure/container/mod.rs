//! The place `azure-container`: gateways as container groups of Azure Container Instances.
