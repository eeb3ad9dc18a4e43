def first
  charge
# ruleid: ruby-swallowed-errors-empty-rescue
rescue
end

def second
  begin
    verify
  # ruleid: ruby-swallowed-errors-empty-rescue
  rescue StandardError => e
  end
end

def third
  File.delete("lock")
# ok: ruby-swallowed-errors-empty-rescue
rescue Errno::ENOENT
end

def fourth
  charge
# ok: ruby-swallowed-errors-empty-rescue
rescue => e
  logger.error(e.message)
end

def fifth
  ping
# ok: ruby-swallowed-errors-empty-rescue
rescue
  # the host may be away at night, the next run asks again
end
