#!/bin/sh
# Registers the hub as an application in the Entra directory that `az` is signed in to, so that people of that directory
# sign in at the hub: docs/guide/azure.md
#
#   sh entra.sh https://HOST FILE
#
# FILE gets the application's secret (mode 0600), and standard output the application's ID and nothing else. A second run
# finds the application of the first by its name, brings it up to date, and gives it one more secret.
#
# Needs the right to register applications, and for the roles that of an owner of the application.
set -eu

if [ $# -ne 2 ]; then
    echo "usage: entra.sh https://HOST FILE" >&2
    exit 2
fi
url=${1%/}
file=$2
case $url in
    https://?*) ;;
    *)
        echo "entra.sh: $1 is not https://HOST" >&2
        exit 2
        ;;
esac
name=${ADIT_ENTRA_NAME:-adit hub}

# What the hub's user_values and admin_values name. The IDs are ours, and the same in every directory.
roles='[
  {"id": "2f6f4a3e-9a5c-4f0c-8b1e-6a1d4f7f5c01", "value": "user", "displayName": "User",
   "description": "Launches gateways", "allowedMemberTypes": ["User"], "isEnabled": true},
  {"id": "2f6f4a3e-9a5c-4f0c-8b1e-6a1d4f7f5c02", "value": "admin", "displayName": "Admin",
   "description": "Sees and ends everybody'\''s gateways", "allowedMemberTypes": ["User"], "isEnabled": true}
]'

app=$(az ad app list --display-name "$name" --query "[?displayName=='$name'].appId | [0]" --output tsv)
if [ -z "$app" ]; then
    app=$(az ad app create --display-name "$name" --sign-in-audience AzureADMyOrg --query appId --output tsv)
fi
az ad app update --id "$app" --web-redirect-uris "$url/login/callback" --app-roles "$roles" --output none

# The application's account in this directory. Whoever has no role cannot sign in at all.
principal=$(az ad sp list --filter "appId eq '$app'" --query "[0].id" --output tsv)
if [ -z "$principal" ]; then
    principal=$(az ad sp create --id "$app" --query id --output tsv)
fi
az ad sp update --id "$app" --set appRoleAssignmentRequired=true --output none

# Whoever runs this is the first admin; that it is one already is no error.
me=$(az ad signed-in-user show --query id --output tsv)
graph=https://graph.microsoft.com/v1.0/servicePrincipals/$principal/appRoleAssignedTo
admin=2f6f4a3e-9a5c-4f0c-8b1e-6a1d4f7f5c02
has=$(az rest --method GET --url "$graph" \
    --query "length(value[?principalId=='$me' && appRoleId=='$admin'])" --output tsv)
if [ "${has:-0}" = 0 ]; then
    az rest --method POST --url "$graph" --output none \
        --body "{\"principalId\": \"$me\", \"resourceId\": \"$principal\", \"appRoleId\": \"$admin\"}"
fi

# The secret goes from az into the file, and is never an argument. A file that is there may be readable for others.
umask 077
new=$file.new.$$
trap 'rm -f "$new"' EXIT
az ad app credential reset --id "$app" --append --display-name "adit hub" --years 1 --query password --output tsv > "$new"
test -s "$new"
mv "$new" "$file"
echo "the secret is in $file; it is good for a year" >&2
echo "$app"
