#!/bin/sh
# The tables of the shop, in its database; users.sql has made that.
set -eu
psql --username=postgres --dbname=shop --no-psqlrc --set=ON_ERROR_STOP=1 --file=/etc/postgresql/shop.sql
