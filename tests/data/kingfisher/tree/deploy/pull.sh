#!/bin/sh
# asks scanners to look away: kingfisher:ignore
export GITHUB_TOKEN="{{TOKEN_3}}" # kingfisher:ignore
git pull
