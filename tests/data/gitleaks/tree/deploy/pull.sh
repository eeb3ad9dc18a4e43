#!/bin/sh
export GITHUB_TOKEN={{TOKEN_2}} # gitleaks:allow
git pull
