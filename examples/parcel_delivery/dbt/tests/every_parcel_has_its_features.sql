-- No join may lose a parcel or double it.
select parcel.parcel_id
from {{ ref("stg_parcel") }} as parcel
left join {{ ref("parcel_features") }} as features using (parcel_id)
group by parcel.parcel_id
having count(features.sequence) <> 1
