-- A reader who leafs through the library, and pauses between the pages.
local words = { "tides", "granite", "of", "salt" }
local count = 0

function request()
  count = count + 1
  local kind = count % 4
  if kind == 0 then
    return wrk.format("GET", "/api/search?q=" .. words[1 + count % #words])
  elseif kind == 1 then
    return wrk.format("GET", "/api/books?page=" .. 1 + count % 20)
  elseif kind == 2 then
    return wrk.format("GET", "/api/clock")
  end
  return wrk.format("GET", "/api/books/" .. 1 + count % 400)
end

function delay()
  return 20 + count % 20
end
