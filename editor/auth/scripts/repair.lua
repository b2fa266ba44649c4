-- Writes a revocation again that was lost, and that pods know. KEYS: revocations, then the family's session or the
-- user's cut. ARGV: member, when the user was cut (ms; 0 for a family), how long a cut is kept (ms).
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
if tonumber(ARGV[2]) == 0 then
  redis.call('DEL', KEYS[2])
elseif tonumber(redis.call('GET', KEYS[2]) or '0') < tonumber(ARGV[2]) then
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
end
redis.call('ZADD', KEYS[1], now, ARGV[1])
return {'repaired'}
